"""`pps quarantine` and `pps retry`: what a person sees and decides, beside a running service or without one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from fetcher import session, sweep
from manager.cli import app
from tests.command import Ended
from tests.integration.service import Installation, catch_all, install
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.smtp import DOT, SmtpServer
from tests.status import Status
from tests.terminal import Terminal


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often for what is due."""
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(session, "SETTLE_SECONDS", 1.0)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SmtpServer]:
    """Run a server that refuses every mail as spam, until it is told otherwise."""
    async with SmtpServer() as server:
        server.replies(DOT, "554 5.7.1 spam")
        yield server


@pytest.fixture
def there(mailbox: Mailbox, tmp_path: Path, server: SmtpServer) -> Installation:
    """A catch-all mailbox with that server as its target, polled only when the test wants it."""
    return install(tmp_path, catch_all(mailbox, interval="1h"), to=server.url)


def settled(**states: int) -> Callable[[Status], bool]:
    """Return whether the deliveries are in these states, as a condition on the ledger's status."""

    def holds(status: Status) -> bool:
        return status.deliveries.get("local", {}) == states and not status.profiles[0].polling

    return holds


async def run(there: Installation, *arguments: str) -> Ended:
    """Run a command to its end, while the service beside it works on: it may hold the lock of the ledger."""
    return await asyncio.to_thread(there.pps, *arguments)


async def asked(there: Installation, *arguments: str) -> dict[str, object]:
    """Return the JSON that a command prints."""
    ended = await run(there, *arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, object] = json.loads(ended.out)
    return found


async def test_a_person_sees_redirects_and_discards_beside_a_running_service(
    there: Installation, mailbox: Mailbox, server: SmtpServer
) -> None:
    """The target's own words are shown; what is decided is done by the service, and stands in the log."""
    mailbox.plant(mail(to="ann@local.example, bob@local.example", subject="for \x1b[31mboth"))
    async with there.serving() as service:
        await service.until(settled(quarantined=2))
        listed = (await asked(there, "quarantine", "list"))["items"]
        assert isinstance(listed, list)
        ann = next(item for item in listed if item["recipient"] == "ann@local.example")
        shown = await run(there, "quarantine", "show", ann["mail"])
        dry = await asked(there, "quarantine", "discard", "--all", "--dry-run")
        server.replies(DOT, "250 2.0.0 Saved")

        moved = await run(there, "quarantine", "redirect", ann["delivery"], "--to", "Boss@local.example")
        await service.until(settled(redirected=1, quarantined=1, delivered=1))
        kept = len(mailbox.remaining())
        thrown = await run(there, "quarantine", "discard", "--recipient", "bob@local.example", "--yes")
        await service.poll()

    assert (await run(there, "quarantine", "list")).out == "nothing waits for a person\n"
    assert (ann["reason"], ann["target"], ann["attempts"]) == ("554 5.7.1 spam", "local", 1)
    assert "Subject: for ?[31mboth" in shown.out
    assert "\x1b" not in shown.out
    assert (dry["found"], dry["done"], dry["dry_run"]) == (2, 0, True)
    assert (moved.code, moved.out) == (0, "1 item redirected\n")
    assert (thrown.code, thrown.out) == (0, "1 item discarded\n")
    assert len(server.inbox("boss")) == 1
    assert (kept, mailbox.remaining()) == (1, [])
    [redirected] = there.events("delivery_redirected_by_person")
    assert (redirected["to"], redirected["mail"], redirected["by"]) == ("boss@local.example", ann["mail"], "root")
    assert len(there.events("delivery_discarded_by_person")) == 1


async def test_discarded_mail_is_never_called_delivered(
    there: Installation, mailbox: Mailbox, server: SmtpServer
) -> None:
    """Nor does an id that fits several mails mean them all: those of one poll begin alike."""
    mailbox.plant(mail(to="ann@local.example"), mail(to="bob@local.example"))
    async with there.serving() as service:
        await service.until(settled(quarantined=2))
        cut = await run(there, "quarantine", "discard", "0", "--yes")
        thrown = await run(there, "quarantine", "discard", "--recipient", "bob@local.example", "--yes")
        server.replies(DOT, "250 2.0.0 Saved")
        assert (await run(there, "quarantine", "retry", "--all")).code == 0
        await service.until(settled(discarded=1, delivered=1))
    pulled = await run(there, "pull")
    verified = await asked(there, "verify")
    lives = (await asked(there, "mails"))["mails"]
    assert isinstance(lives, list)
    bob = next(life["mail"] for life in lives if life["deliveries"][0]["recipient"] == "bob@local.example")
    shown = await asked(there, "mails", "show", bob)

    assert (cut.code, cut.err) == (2, "pps: 0: 2 mails that wait begin so: write more of the id, or choose otherwise\n")
    assert (thrown.code, thrown.out) == (0, "1 item discarded\n")
    assert pulled.out.endswith("2 mails: 1 delivered and deleted, 1 discarded by a person\n"), pulled.out
    [account] = verified["profiles"] if isinstance(verified["profiles"], list) else []
    assert (account["delivered"], account["discarded"]) == (1, 1)
    assert shown["next"] == "nothing: nobody has it, for a person discarded it"


async def test_a_retry_from_quarantine_delivers(there: Installation, mailbox: Mailbox, server: SmtpServer) -> None:
    """Once the target takes it; mail that is deferred is tried now by another command."""
    mailbox.plant(mail(to="ann@local.example"))
    async with there.serving() as service:
        await service.until(settled(quarantined=1))
        server.replies(DOT, "452 4.3.1 disk full")
        assert (await run(there, "quarantine", "retry", "--reason", "spam")).code == 0
        await service.until(settled(deferred=1))
        server.replies(DOT, "250 2.0.0 Saved")
        retried = await run(there, "retry", "--target", "local")
        await service.until(settled(delivered=1))

    assert retried.out == "1 item set in motion again\n"
    assert len(server.inbox("ann")) == 1


def test_nothing_is_decided_without_saying_what(
    there: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each misuse is one line that names the option and the mend; a discard isn't carried out unasked."""
    monkeypatch.chdir(there.folder)
    said = {
        ("quarantine", "discard"): "say which: an ID, --target",
        ("quarantine", "retry", "--all", "--target", "x"): "--all is everything",
        ("quarantine", "retry", "--older-than", "soon"): "--older-than: ",
        ("quarantine", "redirect", "--all", "--to", "a b@c"): "--to: 'a b@c' is not a user",
        ("quarantine", "show", ""): "ID: is empty",
        ("retry",): "say which",
    }
    for command, line in said.items():
        assert app.run(command) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n"), line in err) == ("", 1, True), err

    assert app.run(["quarantine", "list"]) == 1
    assert "nothing ran yet" in capsys.readouterr().err


async def test_who_says_no_to_a_discard_keeps_the_mail(there: Installation, mailbox: Mailbox) -> None:
    """Enter is no yes."""
    mailbox.plant(mail(to="ann@local.example"))
    async with there.serving() as service:
        await service.until(settled(quarantined=1))

    def say_no() -> tuple[int, str]:
        with Terminal(there.folder, "quarantine", "discard", "--all") as terminal:
            terminal.answer("Throw away 1 item? The remote copies will be deleted [y/N]: ", "")
            return terminal.end(), terminal.shown

    code, shown = await asyncio.to_thread(say_no)

    assert (code, "nothing was done: 1 item left waiting" in shown) == (1, True), shown
    assert (await run(there, "quarantine", "list")).out.count("\n") == 2
    assert len(mailbox.remaining()) == 1


async def test_a_name_that_nobody_has_is_told(there: Installation, mailbox: Mailbox) -> None:
    """Else a slip reads as if nothing waited. A target that is gone from the file still has what waits for it."""
    mailbox.plant(mail(to="ann@local.example"))
    async with there.serving() as service:
        await service.until(settled(quarantined=1))

    profile = await run(there, "quarantine", "list", "--profile", "offic")
    target = await run(there, "retry", "--target", "locall")
    nobody = await run(there, "quarantine", "list", "--recipient", "bob")
    install(there.folder, targets={"other": {"url": "maildir:mail/{user}"}})
    gone = await run(there, "quarantine", "list", "--target", "local")

    assert (profile.code, profile.err) == (2, 'pps: the ledger knows no profile "offic": did you mean "office"?\n')
    assert (target.code, target.err) == (2, 'pps: there is no [target.locall]: did you mean "local"?\n')
    assert (nobody.code, nobody.out, nobody.err) == (0, "nothing that fits waits\n", "")
    assert (gone.code, gone.out.count("\n")) == (0, 2)


async def test_a_discard_without_a_person_needs_yes(there: Installation, mailbox: Mailbox) -> None:
    """Nobody is there to ask: nothing is thrown away."""
    mailbox.plant(mail(to="ann@local.example"))
    async with there.serving() as service:
        await service.until(settled(quarantined=1))

    unasked = await run(there, "quarantine", "discard", "--all")
    wrong = await run(there, "quarantine", "redirect", "--all", "--to", "boss", "--via", "nowhere")

    assert (unasked.code, "add --yes" in unasked.err) == (2, True)
    assert (wrong.code, "there is no [target.nowhere]" in wrong.err) == (2, True)
    assert len(mailbox.remaining()) == 1
    assert (await run(there, "quarantine", "list")).out.count("\n") == 2
