"""What becomes of mail when its target says yes, no, later or nothing at all: end to end, on a scripted server."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from deliverer.transaction import Deadlines
from fetcher import session, sweep
from tests.integration.service import Installation, catch_all, install
from tests.maildir import canonical, messages, without_trace
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.smtp import DOT, Act, Answer, SmtpServer
from tests.status import Status


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often for what is due, wait less for outcomes that don't come, and for an answer after the final dot."""
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(session, "SETTLE_SECONDS", 2.0)
    monkeypatch.setattr("deliverer.make.Deadlines", lambda: Deadlines(dot=0.3))


@pytest_asyncio.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[SmtpServer]:
    """Run a server that takes everything, until it is told otherwise; it speaks SMTP, or LMTP if a test says so."""
    async with SmtpServer(lmtp=getattr(request, "param", "smtp") == "lmtp") as server:
        yield server


@pytest.fixture
def there(mailbox: Mailbox, tmp_path: Path, server: SmtpServer) -> Installation:
    """A catch-all mailbox with that server as its target, polled only when the test wants it."""
    return install(tmp_path, catch_all(mailbox, interval="1h"), to=server.url)


def are(**states: int) -> Callable[[Status], bool]:
    """Return whether the deliveries are in these states, as a condition on the ledger's status."""

    def holds(status: Status) -> bool:
        return status.deliveries.get("local", {}) == states and not status.profiles[0].polling

    return holds


@pytest.mark.parametrize("server", ["smtp", "lmtp"], indirect=True)
async def test_later_means_later_for_one_recipient_alone(
    there: Installation, mailbox: Mailbox, server: SmtpServer
) -> None:
    """The other has the mail at once; the remote mail outlives the retry, and goes with the poll after it."""
    server.replies("RCPT TO:<bob@", "450 4.2.0 come back later")
    mailbox.plant(mail(to="ann@local.example, bob@local.example"))

    async with there.serving() as service:
        await service.until(are(delivered=1, deferred=1))
        assert (len(server.inbox("ann")), len(server.inbox("bob"))) == (1, 0)
        await service.poll()
        assert len(mailbox.remaining()) == 1
        server.replies("RCPT TO:<bob@", "250 OK")
        await service.make_due()
        await service.until(are(delivered=2))
        stands = await service.poll()

    assert stands.mails == {"deleted": 1}
    assert (len(server.inbox("ann")), len(server.inbox("bob"))) == (1, 1)
    assert mailbox.remaining() == []


@pytest.mark.parametrize("server", ["smtp", "lmtp"], indirect=True)
async def test_what_is_for_no_user_goes_to_the_fallback(
    there: Installation, mailbox: Mailbox, server: SmtpServer
) -> None:
    """Delivered to him, the mail is deleted in the same session; the ledger keeps what the target said."""
    server.replies("RCPT TO:<ghost@", "550 5.1.1 no such user here")
    mailbox.plant(mail(to="ghost@local.example"))

    async with there.serving() as service:
        status = await service.until(are(delivered=1, redirected=1))

    assert status.profiles[0].mails == {"deleted": 1}
    assert len(server.inbox("boss")) == 1
    [settled] = there.events("delivery_settled", state="redirected")
    assert settled["result"] == "refused"
    assert len(there.events("poll_ended")) == 1


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        ("MAIL", "550 5.7.1 sender refused"),
        ("RCPT", "550 5.7.1 relaying denied"),
        ("RCPT", "550 5.1.1 no such user here"),  # the fallback too
        ("DATA", "554 5.7.1 no"),
        (DOT, "554 5.6.0 this looks like spam"),
    ],
)
async def test_what_is_refused_waits_for_a_person(
    there: Installation, mailbox: Mailbox, server: SmtpServer, step: str, reply: str
) -> None:
    """It is in quarantine with the target's words, and stays on the server poll after poll; a pull exits 1."""
    server.replies(step, reply)
    mailbox.plant(mail())

    async with there.serving() as service:
        await service.until(lambda status: bool(status.quarantined) and not status.profiles[0].polling)
        status = await service.until(lambda status: bool(status.quarantined))
        await service.poll()

    assert [item.reason for item in status.quarantined] == [reply]
    assert len(mailbox.remaining()) == 1
    assert server.deliveries == []
    assert not there.events("mail_deleted")


async def test_one_recipient_s_refusal_keeps_the_mail(
    there: Installation, mailbox: Mailbox, server: SmtpServer
) -> None:
    """The other recipient has it; the remote mail is what the person will decide on."""
    server.replies("RCPT TO:<bob@", "554 5.7.1 not this one")
    mailbox.plant(mail(to="ann@local.example, bob@local.example"))

    async with there.serving() as service:
        await service.until(are(delivered=1, quarantined=1))
        await service.poll()

    assert (len(server.inbox("ann")), len(server.inbox("bob"))) == (1, 0)
    assert len(mailbox.remaining()) == 1


@pytest.mark.parametrize("silence", [Act.HANG, Act.CUT])
async def test_silence_after_the_dot_is_doubt(
    there: Installation, mailbox: Mailbox, server: SmtpServer, silence: Answer
) -> None:
    """Tried again under the same id, and after three times a person is asked; the remote mail stays all the while."""
    server.replies(DOT, silence)
    mailbox.plant(mail())

    async with there.serving() as service:
        await service.until(are(deferred=1))
        assert len(mailbox.remaining()) == 1
        for attempt in (2, 3):
            await service.make_due()
            await service.until(lambda _: len(there.events("delivery_settled", result="ambiguous")) == attempt)  # noqa: B023 (looked at in this round)
        status = await service.until(are(quarantined=1))
        await service.poll()

    assert status.quarantined[0].reason.startswith("may have been delivered")
    assert len(server.deliveries) == 3
    assert len({event["delivery"] for event in there.events("delivery_attempted")}) == 1
    assert len(mailbox.remaining()) == 1


@pytest.mark.parametrize("server", ["smtp", "lmtp"], indirect=True)
async def test_an_answer_after_doubt_settles_it(there: Installation, mailbox: Mailbox, server: SmtpServer) -> None:
    """One silence costs a duplicate, never the mail."""
    server.replies(DOT, Act.HANG, "250 2.0.0 Saved")
    mailbox.plant(mail())

    async with there.serving() as service:
        await service.until(are(deferred=1))
        await service.make_due()
        await service.until(are(delivered=1))
        stands = await service.poll()

    assert stands.mails == {"deleted": 1}
    assert len(server.inbox("ann")) == 2


async def test_nothing_is_fetched_for_a_target_that_is_down(
    there: Installation, mailbox: Mailbox, server: SmtpServer
) -> None:
    """What is on its way waits, and no attempt is counted; new mail is only listed, and status says why.

    Once the target is back, all of it goes there without a person.
    """
    await server.stop()
    mailbox.plant(mail(), mail())

    async with there.serving() as service:
        await service.until(lambda status: bool(status.targets) and not status.profiles[0].polling)
        mailbox.plant(mail())
        stands = await service.poll()
        assert stands.mails == {"routed": 2, "listed": 1}
        assert stands.last_error == (
            f"mail is withheld: target local is paused: {server.url}: nobody listens there: start it, or check url"
        )
        assert json.loads(there.pps("status", "--json").out)["targets"][0]["name"] == "local"
        assert len(mailbox.remaining()) == 3

        await server.start()
        await service.until(are(delivered=2))
        stands = await service.poll()

    assert stands.mails == {"deleted": 3}
    assert len(server.inbox("ann")) == 3
    assert mailbox.remaining() == []
    assert {event["attempt"] for event in there.events("delivery_attempted")} == {1}


async def test_refused_mail_goes_into_the_bad_mail_folder_and_is_then_deleted(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer
) -> None:
    """`refused` names a Maildir: custody moves there, so that spam doesn't fill the provider's quota."""
    server.replies(DOT, "554 5.7.1 spam")
    spam = mail(to="ann@local.example")
    mailbox.plant(spam)
    there = install(
        tmp_path,
        catch_all(mailbox, interval="1h"),
        targets={"local": {"url": server.url, "refused": "maildir:bad-mail?create=yes"}},
    )

    async with there.serving() as service:
        status = await service.until(lambda status: status.profiles[0].mails == {"deleted": 1})

    assert status.deliveries == {"local-refused": {"delivered": 1}}
    [kept] = messages(tmp_path / "bad-mail")
    assert canonical(without_trace(kept)) == canonical(spam)
    assert (server.deliveries, mailbox.remaining()) == ([], [])
