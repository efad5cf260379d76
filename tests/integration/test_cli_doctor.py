"""`pps doctor`: each thing that mail depends on, well or with its mend; nothing is sent, touched or made."""

import json
import os
from pathlib import Path
from typing import Any

from common.lock import alone
from common.secrets import make_key
from manager.doctor.check import Grade
from manager.doctor.here import clock_check
from tests.bad_input.calls import called
from tests.command import pps, tree
from tests.integration.service import MAILDIR, Installation, install, profile
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.fixtures_s3 import Bucket
from tests.servers.process import free_port
from tests.servers.rabbitmq import RabbitMQ

CANARY = "canary-7f3a91"


def diagnosis(there: Installation) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Return the exit code and, by area, the grades and words of `pps doctor --json`."""
    ended = called(["doctor", "--json"], there.folder)
    assert ended.err == ""
    assert CANARY not in ended.out
    areas: dict[str, list[tuple[str, str]]] = {}
    document: dict[str, Any] = json.loads(ended.out)
    for check in document["checks"]:
        areas.setdefault(check["area"], []).append((check["grade"], check["says"]))
    return ended.code, areas


def test_a_good_installation_has_no_problem(mailbox: Mailbox, tmp_path: Path) -> None:
    """Targets and mailboxes answer; no mail, file or folder is touched."""
    mailbox.plant(mail())
    lmtp = {"url": f"lmtp://127.0.0.1:{mailbox.dovecot.lmtp_port}"}
    there = install(tmp_path, profile(mailbox), targets={"local": {"url": MAILDIR}, "mda": lmtp})
    (tmp_path / "pps.key").write_text("key")
    (tmp_path / "pps.key").chmod(0o600)
    before = tree(tmp_path)

    code, areas = diagnosis(there)

    assert code == 0, areas
    assert areas["service"][0][0] == "warning"  # nothing runs
    assert [areas[name][0][0] for name in ("config", "key", "log", "clock", "target local", "target mda")] == ["ok"] * 6
    assert areas["profile office"][0] == ("ok", f"{mailbox.server} lets {mailbox.user} in")
    assert "circle" in areas["profile office"][1][1]  # Dovecot is on this machine, and so is the Maildir
    assert tree(tmp_path) == before
    assert len(mailbox.remaining()) == 1


def test_a_bucket_is_tried(mailbox: Mailbox, tmp_path: Path, bucket: Bucket) -> None:
    """All that workers do there; nothing of it stays. A bucket that isn't there is named."""
    keys: dict[str, Any] = {**bucket.service}
    there = install(tmp_path, profile(mailbox), **keys)

    assert diagnosis(there)[1]["blobs"] == [("ok", f"{keys['blobs']} lets us write, read, list and delete")]
    assert bucket.keys == []

    there = install(tmp_path, profile(mailbox), **{**keys, "blobs": "s3://not-there"})
    code, areas = diagnosis(there)
    assert code == 1
    ((grade, words),) = areas["blobs"]
    assert grade == "problem"
    assert words.startswith("[service] blobs: there is no bucket not-there at ")


def test_a_service_doesn_t_start_without_its_bucket(mailbox: Mailbox, tmp_path: Path, bucket: Bucket) -> None:
    """One line, exit 1, and no mail is touched."""
    mailbox.plant(mail())
    keys: dict[str, Any] = {**bucket.service, "blobs": "s3://not-there"}
    there = install(tmp_path, profile(mailbox), **keys)

    ended = there.pps("run")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"pps: [service] blobs: there is no bucket not-there at {bucket.server.endpoint}: make it, or name another\n"
    )
    assert len(mailbox.remaining()) == 1


def test_each_problem_has_its_mend(mailbox: Mailbox, tmp_path: Path) -> None:
    """A key that others read, a closed port, a refused password, a folder that is a file: all on one page."""
    mailbox.dovecot.add_user(f"bad-{mailbox.user}", "another")
    there = install(
        tmp_path,
        profile(mailbox, "bad", user=f"bad-{mailbox.user}"),
        profile(mailbox, "secretless", user="b", password="env:PPS_NOT_SET"),
        targets={"local": {"url": f"lmtp://127.0.0.1:{free_port()}"}, "other": {"url": "maildir:/proc/{user}"}},
        password=CANARY,
    )
    (tmp_path / "pps.key").write_text("key")
    (tmp_path / "pps.key").chmod(0o644)
    (tmp_path / "blobs").touch()
    (tmp_path / "pop3.log").mkdir()

    code, areas = diagnosis(there)

    assert code == 1
    for area, words in {
        "key": "chmod 600",
        "blobs": "is no folder",
        "log": "is a folder",
        "target local": "nobody listens there",
        "profile bad": "check user and password",
        "profile secretless": "PPS_NOT_SET",
    }.items():
        assert areas[area][0][0] == "problem", areas
        assert words in areas[area][0][1]


def test_a_broken_config_is_the_one_problem(tmp_path: Path) -> None:
    """For people: a table, and the sum below it."""
    (tmp_path / "pps.toml").write_text('[service]\nlogg = "x"\n')

    ended = called(["doctor"], tmp_path)

    assert ended.code == 1
    assert 'unknown key "logg": did you mean "log"?' in ended.out
    assert ended.out.endswith("1 problem, 0 warnings, 0 well\n")


def test_a_running_service_is_found(mailbox: Mailbox, tmp_path: Path) -> None:
    """By the lock, which tells its process."""
    there = install(tmp_path, profile(mailbox))

    with alone(there.config):
        _, areas = diagnosis(there)

    assert areas["service"] == [("ok", f"process {os.getpid()} is at work")]


def test_servers_that_do_not_answer_are_problems(mailbox: Mailbox, tmp_path: Path) -> None:
    """Neither PostgreSQL nor RabbitMQ runs: each is named with its port, its password isn't."""
    port = free_port()
    there = install(
        tmp_path,
        profile(mailbox),
        ledger=f"postgresql://pps:{CANARY}@127.0.0.1:{port}/pps",
        broker=f"amqp://pps:{CANARY}@127.0.0.1:{port}/pps",
    )

    _, areas = diagnosis(there)

    assert [areas[area][0][0] for area in ("ledger", "broker")] == ["problem", "problem"]
    assert all(str(port) in areas[area][0][1] for area in ("ledger", "broker"))


def test_a_cluster_answers(mailbox: Mailbox, tmp_path: Path, database: str, rabbitmq: RabbitMQ) -> None:
    """A ledger at this version's schema, a broker whose queues can be asked."""
    there = install(tmp_path, profile(mailbox), ledger=database, broker=rabbitmq.url)
    assert called(["migrate"], tmp_path).code == 0

    _, areas = diagnosis(there)

    assert [areas[area][0][0] for area in ("ledger", "broker")] == ["ok", "ok"]


def test_a_clock_that_is_behind_is_a_problem(mailbox: Mailbox, tmp_path: Path) -> None:
    """What was written tomorrow was not: certificates and retries would be wrong too."""
    config = install(tmp_path, profile(mailbox)).config

    assert clock_check(config).grade is Grade.OK
    assert clock_check(config, now=config.path.stat().st_mtime - 3600).grade is Grade.PROBLEM


def test_typed_passwords_and_profiles_of_the_ledger_are_tried_too(mailbox: Mailbox, tmp_path: Path) -> None:
    """One of the file whose password isn't typed yet, and one that `pps profile add` made; no ledger is made by it."""
    there = install(tmp_path, profile(mailbox, password="stored"))
    (tmp_path / "pps.key").write_text(make_key())
    (tmp_path / "pps.key").chmod(0o600)
    user = mailbox.dovecot.add_user(f"more-{mailbox.user}", mailbox.password)
    account = ["--server", mailbox.server, "--user", user, "--password", "file:office.secret", "--local-user", "ann"]

    _, before = diagnosis(there)
    made = (tmp_path / "pps.db").exists()
    added = called(["profile", "add", "more", *account], tmp_path)
    typed = pps("profile", "password", "office", "--password-stdin", folder=tmp_path, stdin=mailbox.password.encode())
    code, after = diagnosis(there)

    assert before["profile office"][0] == (
        "problem",
        "password: none is stored: `pps profile password office` asks for it",
    )
    assert not made
    assert (added.code, typed.code) == (0, 0), (added, typed)
    assert after["profile office"][0] == ("ok", f"{mailbox.server} lets {mailbox.user} in")
    assert after["profile more"][0] == ("ok", f"{mailbox.server} lets {user} in")
    assert code == 0, after
