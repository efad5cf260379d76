"""A configuration that changes while the service works: in force without a restart, mail in flight undisturbed."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest

from common.failures import PpsError, UsageError
from common.lock import Holder, holder_of
from fetcher import session, sweep
from manager.reload import reload_service
from tests.bad_input.calls import called
from tests.integration.service import MAILDIR, Installation, catch_all, install, profile, wait_until
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.smtp import SmtpServer
from tests.status import status_of

MANY = 40


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    """Start a scripted LMTP server."""
    async with SmtpServer(lmtp=True) as started:
        yield started


def rewritten(there: Installation, *changes: tuple[str, str]) -> None:
    """Change the text of the configuration."""
    path = there.folder / "pps.toml"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def at_work(there: Installation) -> Holder:
    """Return who works on the ledger, once it takes SIGHUP."""
    found: list[Holder] = []

    def ready() -> bool:
        holder = holder_of(there.config)
        found[:] = [holder] if holder is not None and holder.reloads else []
        return bool(found)

    wait_until(ready)
    return found[0]


def has_reloaded(there: Installation, count: int) -> bool:
    """Whether the log tells of so many reloads."""
    return len(there.events("config_reloaded")) >= count


def received(server: SmtpServer) -> Counter[tuple[str, bytes]]:
    """Count what the server holds by recipient and mail, each told by its subject."""
    return Counter(
        (one.recipients[0], next(line for line in one.content.split(b"\r\n") if line.startswith(b"Subject:")))
        for one in server.deliveries
    )


def test_a_new_profile_is_polled_after_a_reload(mailbox: Mailbox, tmp_path: Path) -> None:
    """`pps reload` returns once the same process has it; until then `pps profile sync` says what waits for it."""
    mailbox.plant(mail())
    there = install(tmp_path, profile(mailbox))
    whole = (tmp_path / "pps.toml").read_text()
    (tmp_path / "pps.toml").write_text(whole.partition("[[profile]]")[0])

    with there.running("run"):
        before = at_work(there)
        unchanged = called(["profile", "sync"], tmp_path)
        (tmp_path / "pps.toml").write_text(whole)
        synced = called(["profile", "sync"], tmp_path)
        ended = called(["reload"], tmp_path)
        wait_until(lambda: there.events("mail_deleted"))
        after = at_work(there)

    assert (ended.code, ended.out, ended.err) == (0, "the configuration is in force\n", "")
    assert unchanged.err == ""
    assert synced.err == "[service] and [target.NAME], if they changed too, take effect with `pps reload`\n"
    assert there.counts() == {"ann": 1}
    assert (after.pid, after.answered) == (before.pid, before.answered + 1)


def test_a_broken_file_is_refused_and_the_old_one_stays(mailbox: Mailbox, tmp_path: Path) -> None:
    """One line for the person who asked, one in the log for systemd's SIGHUP; polls go on as before."""
    there = install(tmp_path, profile(mailbox))

    with there.running("run"):
        pid = at_work(there).pid
        rewritten(there, ('name = "office"', 'intervall = "1h"\nname = "office"'))
        asked = called(["reload"], tmp_path)
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: there.events("config_refused"))
        rewritten(there, ('intervall = "1h"\n', ""))
        mailbox.plant(mail())
        assert called(["pull"], tmp_path).code == 0

    line = 'pps.toml: [[profile]] "office" unknown key "intervall": did you mean "interval"?'
    assert (asked.code, asked.err) == (2, f"pps: {line}\n")
    assert [event["error"] for event in there.events("config_refused")] == [line]
    assert there.counts() == {"ann": 1}


def test_what_takes_a_restart_is_named_and_all_else_is_in_force(mailbox: Mailbox, tmp_path: Path) -> None:
    """The blobs stay where they are; the log moves at once, and its old file gets no more lines."""
    there = install(tmp_path, profile(mailbox), blobs="file:blobs", log="pop3.log")

    with there.running("run"):
        at_work(there)
        rewritten(there, ('"file:blobs"', '"file:others"'), ('"pop3.log"', '"new.log"'))
        ended = called(["reload"], tmp_path)
        told = (tmp_path / "new.log").read_text()

    line = "pps: reload: [service] blobs: changed, which takes a restart; all else is in force\n"
    assert (ended.code, ended.err) == (1, line)
    assert '"event":"config_needs_restart"' in told
    assert "worker_stopped" in (tmp_path / "new.log").read_text()
    assert not there.events("worker_stopped")


async def test_a_target_whose_secret_is_gone_is_refused_whole(mailbox: Mailbox, tmp_path: Path) -> None:
    """Nothing of the file is in force then, the profiles neither."""
    there = install(tmp_path, profile(mailbox))

    async with there.serving() as service:
        rewritten(
            there,
            ('name = "office"', 'name = "renamed"'),
            (f'url = "{MAILDIR}"', 'url = "lmtp://127.0.0.1:24"\nuser = "pps"\npassword = "file:gone"'),
        )
        with pytest.raises(PpsError, match=r"\[target.local\] password: file:"):
            await service.reloader.reload()
        names = [one.name for one in (await status_of(service.parts.ledger)).profiles]

    assert names == ["office"]


def test_who_asks_amid_a_reload_is_answered_by_the_next(
    mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reload under way read the file before it was broken: "in force" would be said of a file that nobody read."""
    there = install(tmp_path, profile(mailbox))
    config = there.config
    os.mkfifo(tmp_path / "gate")

    with there.running("run"):
        pid = at_work(there).pid
        waits = 'url = "lmtp://127.0.0.1:24"\nuser = "pps"\npassword = "command:cat gate"'
        rewritten(there, (f'url = "{MAILDIR}"', waits))
        os.kill(pid, signal.SIGHUP)
        with (tmp_path / "gate").open("w") as gate, monkeypatch.context() as patch:  # opens once it is waited for
            rewritten(there, ('name = "office"', 'intervall = "1h"\nname = "office"'))
            patch.setattr(os, "kill", partial(killed_then_opened, os.kill, gate))
            with pytest.raises(PpsError, match='unknown key "intervall"'):
                reload_service(config)


def killed_then_opened(kill: Callable[[int, int], None], gate: TextIO, pid: int, number: int) -> None:
    """Send the signal, and only then let the reload go on that waits at the gate."""
    kill(pid, number)
    gate.write("secret\n")
    gate.close()


def test_nothing_to_reload_is_one_line(mailbox: Mailbox, tmp_path: Path) -> None:
    """Neither where nobody works, nor where many processes do."""
    install(tmp_path, profile(mailbox))
    assert called(["reload"], tmp_path).err.startswith("pps: reload: no service runs")

    install(
        tmp_path, profile(mailbox), ledger="postgresql://pps@127.0.0.1:1/pps", broker="amqp://pps:x@127.0.0.1:1/pps"
    )
    ended = called(["reload"], tmp_path)

    assert (ended.code, "SIGHUP" in ended.err) == (2, True)


async def test_a_reload_under_load_doubles_and_loses_nothing(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer
) -> None:
    """Replaced while mails are past their final dot at a slow server, and again as they flow: each comes once."""
    mailbox.plant(*(mail(to="ann@local.example, bob@local.example", subject=f"mail {n}") for n in range(MANY)))
    server.prompt.clear()
    target = {"url": server.url, "connections": 4}
    there = install(tmp_path, catch_all(mailbox), targets={"local": target})
    running = there.running("run")

    await asyncio.to_thread(running.__enter__)
    try:
        pid = (await asyncio.to_thread(at_work, there)).pid
        await server.dot_came.wait()
        for count in range(1, 4):
            rewritten(there, (f"connections = {3 + count}", f"connections = {4 + count}"))
            os.kill(pid, signal.SIGHUP)
            await asyncio.to_thread(wait_until, partial(has_reloaded, there, count))
            server.prompt.set()
        await asyncio.to_thread(wait_until, lambda: not mailbox.remaining())
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)

    counts = received(server)
    assert len(counts) == 2 * MANY
    assert set(counts.values()) == {1}
    assert not there.events("deliveries_cut")


async def test_a_removed_target_takes_no_more_and_its_mail_follows_the_profile(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has begun is finished; what it has not shows as undone until it is fetched again for the new target."""
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(session, "SETTLE_SECONDS", 0.5)  # the first poll waits in vain for what is sent back
    mailbox.plant(*(mail(to="ann@local.example", subject=f"mail {n}") for n in range(3)))
    server.prompt.clear()
    targets: Mapping[str, Mapping[str, object]] = {
        "old": {"url": server.url, "connections": 1},
        "new": {"url": MAILDIR},
    }
    there = install(tmp_path, catch_all(mailbox, target="old"), targets=targets)

    async with there.serving() as service:
        await server.dot_came.wait()
        rewritten(there, (f'[target.old]\nurl = "{server.url}"\nconnections = 1\n', ""), ('"old"', '"new"'))
        await service.reloader.reload()
        server.prompt.set()
        undone = await service.until(lambda status: status.deliveries.get("old", {}).get("delivered") == 1)
        assert undone.deliveries["old"]["pending"] == 2
        await service.make_due()
        await service.until(lambda _status: len(there.events("mail_sent_back")) == 2)
        monkeypatch.setattr(session, "SETTLE_SECONDS", 10.0)
        await service.parts.ledger.set_due("office")  # amid a poll that may be over its listing: another follows
        await service.until(lambda status: status.profiles[0].mails == {"deleted": 3})

    assert len(server.deliveries) == 1
    assert there.counts() == {"ann": 2}


async def test_a_paused_target_that_was_mended_by_a_reload_is_in_service(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer
) -> None:
    """Its pause ends with the lane that made it: nobody waits for a probe of an address that was wrong."""
    mailbox.plant(mail(to="ann@local.example"))
    there = install(tmp_path, catch_all(mailbox), to="lmtp://127.0.0.1:1")

    async with there.serving() as service:
        await service.until(lambda status: bool(status.targets) and not status.profiles[0].polling)
        rewritten(there, ("lmtp://127.0.0.1:1", server.url))
        await service.reloader.reload()
        await service.until(lambda status: not status.targets)
        await service.until(lambda status: status.deliveries == {"local": {"delivered": 1}})
        await service.poll()
        await service.until(lambda status: status.profiles[0].mails == {"deleted": 1})

    assert len(server.deliveries) == 1


async def test_a_profile_of_another_manager_without_its_target_fetches_nothing_and_says_so(
    mailbox: Mailbox, tmp_path: Path
) -> None:
    """Its mail would lie in a queue that nobody serves."""
    mailbox.plant(mail())
    targets = {"local": {"url": MAILDIR}, "other": {"url": MAILDIR}}
    there = install(tmp_path, profile(mailbox, target="other"), targets=targets)
    profiles = there.config.profiles
    install(tmp_path, to=MAILDIR)

    async with there.serving() as service:
        await service.parts.ledger.sync_profiles(profiles, managed_by="manager")
        polled = await service.poll()
        await service.reloader.reload()

    assert (
        polled.last_error
        == "mail is withheld: there is no [target.other] in the configuration: add it, or name another"
    )
    assert there.events("profiles_without_target")[0]["profiles"] == ["office"]
    assert len(mailbox.remaining()) == 1


async def test_a_reload_that_fails_changes_nothing(mailbox: Mailbox, tmp_path: Path) -> None:
    """A log that can't be opened: the old one goes on."""
    there = install(tmp_path, profile(mailbox), log="pop3.log")

    async with there.serving() as service:
        rewritten(there, ('"pop3.log"', '"gone/pop3.log"'))
        with pytest.raises(UsageError, match=r"\[service\] log: can't write"):
            await service.reloader.reload()
        service.parts.log.info("still_here")

    assert there.events("still_here")
