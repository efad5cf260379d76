"""What /metrics shows of real mail, beside a real service: just what was planted, delivered and deleted."""

import asyncio
from pathlib import Path
from typing import Final

from common.broker import FETCHED, OUTCOMES, jobs_queue
from common.ledger import migrate_database
from common.ledger.restoring import Witness
from common.ledger.schema import new_id
from tests.integration.service import MAILDIR, ROLES, Installation, catch_all, install, profile, wait_until
from tests.mails import mail
from tests.scraped import Scraped, page, scrape
from tests.servers.dovecot import PASSWORD
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.process import free_port
from tests.servers.rabbitmq import PASSWORD as BROKER_PASSWORD
from tests.servers.rabbitmq import RabbitMQ

PHASES: Final = {"connect", "auth", "list", "retrieve", "settle", "quit"}
TARGET: Final = {"numbers": {"url": MAILDIR}}
"""A target of our own: its queue is no other test's."""


def seven_mails() -> list[bytes]:
    """Return mails with nine recipients: one is the fallback user, one mail is large, and two are copies of one."""
    both = "ann@local.example, bob@local.example"
    return [
        mail(),
        mail(to=both),
        mail(to=both, cc="carol@local.example"),
        mail(to="somebody@far.example"),
        mail(size=100_000),
        mail(message_id="<copy@far.example>", extra="X-Copy: 1\r\n"),
        mail(message_id="<copy@far.example>", extra="X-Copy: 2\r\n"),
    ]


def assert_numbers(fetching: Scraped, routing: Scraped, delivering: Scraped, planted: list[bytes]) -> None:
    """Compare all that was counted with seven mails and their nine deliveries, wherever each is counted."""
    jobs = jobs_queue("numbers")
    assert fetching.value("mails_fetched_total") == 7
    assert fetching.value("bytes_fetched_total") == sum(map(len, planted))
    assert fetching.by("mails_deleted_total", "result") == {"ok": 7}
    assert fetching.by("deletes_withheld_total", "reason") == {}
    assert set(fetching.by("polls_total", "result")) <= {"ok", "empty"}
    assert set(fetching.by("poll_duration_seconds_count", "phase")) == PHASES
    assert (fetching.value("schedule_lag_seconds_count") or 0) >= 1
    assert routing.by("routed_total", "rule") == {"to-cc": 9, "fallback": 1}
    assert routing.value("copies_joined_total") == 1
    assert delivering.by("deliveries_total", "result") == {"delivered": 9}
    assert delivering.by("deliveries_total", "transport") == {"maildir": 9}
    assert delivering.value("delivery_seconds_count", transport="maildir") == 9
    assert 0 < (delivering.value("delivery_seconds_sum", transport="maildir") or 0) < 9 * 120
    assert fetching.value("publishes_total", queue=FETCHED, result="ack") == 7
    assert routing.value("publishes_total", queue=jobs, result="ack") == 9
    assert delivering.value("publishes_total", queue=OUTCOMES, result="ack") == 9
    assert fetching.value("confirm_seconds_count", queue=FETCHED) == 7
    assert fetching.value("work_seconds_count", stage="settle", result="ack") == 9
    assert routing.value("work_seconds_count", stage="route", result="ack") == 7
    assert delivering.value("work_seconds_count", stage="deliver", result="ack") == 9


def assert_at_rest(shown: Scraped, role: str) -> None:
    """Compare what a process knows of the whole service once all is done."""
    queues = {FETCHED, OUTCOMES, jobs_queue("numbers")}
    assert {queue: shown.value("consumers", queue=queue) for queue in queues} == dict.fromkeys(queues, 1)
    assert shown.value("consumers", queue="pps.dead") == 0
    assert shown.by("queue_messages", "queue") == {}
    assert shown.by("ledger_mails", "state") == shown.by("ledger_deliveries", "state") == {}
    assert shown.by("quarantined", "reason") == shown.by("target_paused", "target") == {}
    assert shown.value("oldest_undelivered_seconds") == shown.value("oldest_undeleted_seconds") == 0
    assert shown.by("profiles", "state") == {"active": 1}
    assert shown.value("profiles_overdue") == shown.value("hosts_paused") == 0
    assert shown.by("profile_up", "profile") == {"office": 1}
    assert (shown.value("profile_last_success_timestamp_seconds", profile="office") or 0) > 1_700_000_000
    assert shown.value("broker_connected", role=role) == 1
    assert shown.value("broker_blocked", role=role) == 0
    assert shown.value("pop3_sessions") == shown.value("publish_inflight") == shown.value("publish_inflight_bytes") == 0
    assert (shown.value("blob_store_free_bytes") or 0) > 0
    assert shown.by("publishes_total", "result").keys() <= {"ack"}
    assert PASSWORD not in shown.text
    assert BROKER_PASSWORD not in shown.text
    assert "local.example" not in shown.text


def all_deleted(there: Installation, count: int) -> bool:
    """Whether so many mails are done, and no poll is under way."""
    return len(there.events("mail_deleted")) == count and len(there.events("poll_started")) == len(
        there.events("poll_ended")
    )


def test_one_process_counts_what_was_planted(mailbox: Mailbox, tmp_path: Path) -> None:
    """All of it on one page, and nothing twice."""
    planted = seven_mails()
    mailbox.plant(*planted)
    port = free_port()
    there = install(
        tmp_path, catch_all(mailbox, target="numbers", interval="1h"), targets=TARGET, http=f"127.0.0.1:{port}"
    )

    with there.running("run"):
        wait_until(lambda: all_deleted(there, len(planted)))
        shown = scrape(port)
        assert page(port, "/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"

    assert_numbers(shown, shown, shown, planted)
    assert_at_rest(shown, "run")
    assert shown.value("blob_bytes") == len(Witness(installation=new_id(), epoch=1).to_bytes())  # no mail's


def test_three_roles_count_it_each_its_part(
    mailbox: Mailbox, tmp_path: Path, database: str, rabbitmq: RabbitMQ
) -> None:
    """On RabbitMQ and PostgreSQL; what concerns the whole service is the same on each page."""
    planted = seven_mails()
    mailbox.plant(*planted)
    ports = {role: free_port() for role in ROLES}
    there = install(
        tmp_path,
        catch_all(mailbox, target="numbers", interval="1h"),
        targets=TARGET,
        ledger=database,
        broker=rabbitmq.url,
        http={role: f"127.0.0.1:{port}" for role, port in ports.items()},
    )
    asyncio.run(migrate_database(database, base=tmp_path))

    with there.running(*ROLES):
        wait_until(lambda: all_deleted(there, len(planted)))
        shown = {role: scrape(port) for role, port in ports.items()}

    assert_numbers(shown["fetcher"], shown["router"], shown["deliverer"], planted)
    for role, its in shown.items():
        assert_at_rest(its, role)
        # Router and deliverer may declare the new queue at one moment, which costs a connection (Publisher.declaring).
        back = [line for line in there.events("broker_back") if line["line"].startswith(f"pps {role} ")]
        assert its.value("broker_reconnects_total", role=role) == len(back)
    assert shown["router"].value("mails_fetched_total") == 0
    assert shown["fetcher"].value("deliveries_total", transport="maildir", result="delivered") is None


def test_what_goes_wrong_is_counted_too(mailbox: Mailbox, tmp_path: Path) -> None:
    """A password that is refused, and a target that is away: neither is a silence, and no address is told."""
    mailbox.plant(mail(to="secret.name@local.example"))
    port, nobody = free_port(), free_port()
    there = install(
        tmp_path,
        profile(mailbox, target="away"),
        profile(mailbox, "wrong", user=mailbox.dovecot.add_user("other-account"), target="away"),
        targets={"away": {"url": f"lmtp://127.0.0.1:{nobody}"}},
        http=f"127.0.0.1:{port}",
        profile_metrics=1,
    )
    (tmp_path / "wrong.secret").write_text("not the password")

    with there.running("run"):
        wait_until(lambda: there.events("target_paused") and there.events("poll_ended", result="auth"))
        shown = scrape(port)

    assert shown.value("polls_total", result="auth") == 1
    assert shown.by("target_paused", "target") == {"away": 1}
    assert shown.by("profiles", "state") == {"active": 1, "backoff": 1}
    assert shown.by("profile_up", "profile") == {}, "two profiles, and at most one would have a gauge of its own"
    assert shown.by("ledger_deliveries", "state") == {"pending": 1}
    assert (shown.value("oldest_undelivered_seconds") or 0) > 0
    assert (shown.value("queue_oldest_seconds", queue=jobs_queue("away"), state="ready") or 0) > 0
    assert "secret.name" not in shown.text
    assert "other-account" not in shown.text
    assert "not the password" not in shown.text
