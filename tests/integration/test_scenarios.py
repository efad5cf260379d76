"""What administrators use PPS for, end to end on real servers: every mail where it belongs, and deleted after that."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from tests.integration.service import MAILDIR, ROLES, catch_all, install, profile, wait_until
from tests.maildir import account, compare
from tests.mails import by_recipient, mail
from tests.sample import demo_mails
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.smtp import SmtpServer

LIFE = [
    "mail_listed",
    "mail_fetched",
    "mail_routed",
    "delivery_attempted",
    "delivery_settled",
    "mail_deleted",
]
"""What the log tells of a mail to one recipient when all goes well."""


def test_one_user_s_mailbox_goes_whole_to_him_over_lmtp(mailbox: Mailbox, tmp_path: Path) -> None:
    """Whatever To and Cc say, all is his; Dovecot stores what was planted, byte for byte."""
    planted = [sample.raw for sample in demo_mails()]
    mailbox.plant(*planted)
    there = install(
        tmp_path, profile(mailbox, local_user="carol@local.example"), to=f"lmtp://127.0.0.1:{mailbox.dovecot.lmtp_port}"
    )

    ended = there.pps("pull")

    assert (ended.code, ended.out, ended.err) == (0, "25 mails: 25 delivered and deleted\n", "")
    accounting = compare({"carol": planted}, {"carol": mailbox.dovecot.inbox("carol")})
    assert not accounting.lost, accounting  # what others put there is theirs
    assert mailbox.remaining() == []


def test_one_user_s_mailbox_goes_whole_into_his_maildir(mailbox: Mailbox, tmp_path: Path) -> None:
    """Without a local domain the user stands alone."""
    planted = [sample.raw for sample in demo_mails()]
    mailbox.plant(*planted)
    there = install(tmp_path, profile(mailbox, local_user="ann"))

    ended = there.pps("pull")

    assert (ended.code, ended.out, ended.err) == (0, "25 mails: 25 delivered and deleted\n", "")
    accounting = account({"ann": planted}, tmp_path / "mail")
    assert accounting.exact, accounting
    assert there.counts() == {"ann": 25}
    assert mailbox.remaining() == []


def test_a_catch_all_is_distributed_by_to_and_cc(mailbox: Mailbox, tmp_path: Path) -> None:
    """Each local user named gets the mail once; other domains are ignored, and nobody named means the fallback."""
    samples = demo_mails()
    mailbox.plant(*(sample.raw for sample in samples))
    there = install(
        tmp_path,
        catch_all(mailbox, local_domain=["example.com"], local_user="postmaster"),
        to="maildir:mail/{domain}/{user}?create=yes",
    )

    assert there.pps("pull").code == 0

    accounting = account(by_recipient(samples), tmp_path / "mail", "{domain}/{user}")
    assert accounting.exact, accounting
    places = sorted(str(path.relative_to(tmp_path / "mail")) for path in (tmp_path / "mail").glob("*/*"))
    assert places == [f"example.com/{user}" for user in ("ann", "bob", "carol", "postmaster")]
    assert mailbox.remaining() == []


def test_several_profiles_are_pulled_side_by_side(dovecot: Dovecot, mailbox: Mailbox, tmp_path: Path) -> None:
    """Each has its own mailbox, users and counts."""
    boxes = [mailbox, *(dataclasses.replace(mailbox, user=dovecot.add_user(f"{mailbox.user}-{n}")) for n in range(3))]
    for count, box in enumerate(boxes, start=1):
        box.plant(*(mail() for _ in range(count)))
    there = install(
        tmp_path, *(profile(box, f"p{number}", local_user=f"user{number}") for number, box in enumerate(boxes))
    )

    ended = there.pps("pull", "--json")

    assert ended.code == 0
    told = {one["name"]: (one["deleted"], one["left"]) for one in json.loads(ended.out)["profiles"]}
    assert told == {"p0": (1, 0), "p1": (2, 0), "p2": (3, 0), "p3": (4, 0)}
    assert there.counts() == {"user0": 1, "user1": 2, "user2": 3, "user3": 4}
    assert [len(box.remaining()) for box in boxes] == [0, 0, 0, 0]


def test_kept_mail_stays_and_comes_once(mailbox: Mailbox, tmp_path: Path) -> None:
    """A later pull brings only what is new; when keep is turned off, what was delivered is deleted, verified by TOP."""
    mailbox.plant(mail(), mail())
    there = install(tmp_path, profile(mailbox, keep=True))

    first = there.pps("pull")
    mailbox.plant(mail())
    second = there.pps("pull")
    kept = len(mailbox.remaining())
    install(tmp_path, profile(mailbox))
    third = there.pps("pull")

    assert (first.code, first.out) == (0, "2 mails: 2 delivered and kept on the server\n")
    assert (second.code, second.out) == (0, "1 mail: 1 delivered and kept on the server\n")
    assert kept == 3
    assert third.code == 0
    assert (there.counts(), mailbox.remaining()) == ({"ann": 3}, [])


@pytest.mark.parametrize("tls", ["implicit", "stls"])
def test_mail_comes_over_tls(mailbox: Mailbox, tmp_path: Path, tls: str) -> None:
    """A port with an s is TLS from the first byte, a plain one uses STLS; `ca` names whom to trust."""
    dovecot = mailbox.dovecot
    assert dovecot.certificates is not None
    keys = {"server": f"localhost {dovecot.pop3s_port}s"} if tls == "implicit" else {"tls": "starttls"}
    mailbox.plant(mail())
    there = install(tmp_path, profile(mailbox, ca=str(dovecot.certificates.ca), **keys))

    ended = there.pps("pull")

    assert (ended.code, ended.err) == (0, "")
    assert there.counts() == {"ann": 1}
    assert logins(dovecot, mailbox.user)
    assert all("TLS" in login for login in logins(dovecot, mailbox.user))


def logins(dovecot: Dovecot, user: str) -> list[str]:
    """Return the lines in which Dovecot tells of a user's sign-ins."""
    return [line for line in dovecot.log.splitlines() if "pop3-login: Info: Login:" in line and f"<{user}>" in line]


async def test_mail_goes_out_over_smtp(mailbox: Mailbox, tmp_path: Path) -> None:
    """The Return-Path is the envelope sender, and is taken as it came; below our trace field nothing changed."""
    planted = mail(to="bob@local.example, ann@local.example", extra="Return-Path: <list@far.example>\r\n")
    mailbox.plant(planted)
    async with SmtpServer() as server:
        there = install(tmp_path, catch_all(mailbox), to=server.url)
        async with there.serving() as service:
            await service.until(lambda status: status.profiles[0].mails == {"deleted": 1})

    assert sorted((sent.sender, *sent.recipients) for sent in server.deliveries) == [
        ("list@far.example", "ann@local.example"),
        ("list@far.example", "bob@local.example"),
    ]
    assert all(sent.content.endswith(planted) for sent in server.deliveries)
    assert mailbox.remaining() == []


def test_three_processes_do_what_one_does(mailbox: Mailbox, tmp_path: Path, database: str, rabbitmq: RabbitMQ) -> None:
    """A fetcher, a router and a deliverer on RabbitMQ and PostgreSQL give every mail to the same users."""
    samples = demo_mails()
    mailbox.plant(*(sample.raw for sample in samples))
    there = install(
        tmp_path,
        catch_all(mailbox, local_domain=["example.com"], local_user="postmaster", target="roles"),
        targets={"roles": {"url": MAILDIR}},
        ledger=database,
        broker=rabbitmq.url,
    )
    assert there.pps("migrate").code == 0

    with there.running(*ROLES):
        wait_until(lambda: len(there.events("mail_deleted")) == len(samples))

    accounting = account(by_recipient(samples), tmp_path / "mail")
    assert accounting.exact, accounting
    assert mailbox.remaining() == []
    assert {event["role"] for event in there.events("worker_started")} == set(ROLES)


def test_a_pull_beside_a_service_makes_that_one_poll(mailbox: Mailbox, tmp_path: Path) -> None:
    """It sets the profile due and watches: the service does the work, and the lock of the ledger is respected."""
    mailbox.plant(mail())
    there = install(tmp_path, profile(mailbox, interval="1h"))

    with there.running("run"):
        wait_until(lambda: there.events("poll_ended"))
        mailbox.plant(mail(), mail())
        ended = there.pps("pull", "office")
        second_service = there.pps("run")

    assert (ended.code, ended.out, ended.err) == (0, "2 mails: 2 delivered and deleted\n", "")
    assert (second_service.code, second_service.err.count("\n")) == (2, 1)
    assert "postgresql://" in second_service.err
    assert "amqp://" in second_service.err
    assert there.counts() == {"ann": 3}
    assert {event["role"] for event in there.events("mail_fetched")} == {"run"}


def test_the_log_tells_one_mail_s_life(mailbox: Mailbox, tmp_path: Path) -> None:
    """From listing to deletion under one id; `pps log ID` shows it."""
    mailbox.plant(mail(), mail())
    there = install(tmp_path, profile(mailbox))
    there.pps("pull")

    (first, second) = (event["mail"] for event in there.events("mail_listed"))

    assert first != second
    for mail_id in (first, second):
        assert [event["event"] for event in there.events(mail=mail_id)] == LIFE
    shown = there.pps("log", first).out.splitlines()
    assert [re.split(r"\s+", line)[3] for line in shown] == LIFE


def test_mail_is_deleted_in_the_session_that_fetched_it(mailbox: Mailbox, tmp_path: Path) -> None:
    """One poll, one sign-in, all retrieved and all deleted before its QUIT."""
    mailbox.plant(*(mail() for _ in range(7)))
    there = install(tmp_path, profile(mailbox))
    there.pps("pull")

    [poll] = there.events("poll_ended")
    assert (poll["listed"], poll["fetched"], poll["deleted"]) == (7, 7, 7)
    [login] = logins(mailbox.dovecot, mailbox.user)
    assert login
    assert mailbox.remaining() == []
