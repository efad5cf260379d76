"""An installation of PPS for a test: a folder with a pps.toml, worked on by `pps` processes or by this very one."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.config import MANAGED_BY_FILE, Config, load_config
from common.crashpoints import VARIABLE
from common.reload import Reloader, run_reloading
from common.worker import Parts, opened
from manager.service import compose
from tests.command import ROOT, Ended, pps
from tests.ledger import change
from tests.maildir import messages
from tests.scraped import Scraped
from tests.servers.dovecot import PASSWORD
from tests.servers.fixtures_dovecot import Mailbox
from tests.status import ProfileStatus, Status, status_of

MAILDIR: Final = "maildir:mail/{user}?create=yes"
ROLES: Final = ("fetcher", "router", "deliverer")
WAIT_SECONDS: Final = 60.0
"""A loaded machine of two cores; what is waited for usually comes within a second."""

LOOK_SECONDS: Final = 0.02
"""Between two looks at a process's files or at the ledger: neither can be waited on as an event."""

STOP_SECONDS: Final = 30.0


def profile(mailbox: Mailbox, name: str = "office", **keys: object) -> dict[str, object]:
    """Return a `[[profile]]` table for a mailbox, all of whose mail goes to ann; `keys` change and add."""
    account = {"name": name, "server": mailbox.server, "user": mailbox.user, "password": f"file:{name}.secret"}
    return {**account, "local_user": "ann@local.example", **keys}


def catch_all(mailbox: Mailbox, name: str = "office", **keys: object) -> dict[str, object]:
    """Return a `[[profile]]` table for a mailbox that is distributed by To and Cc, with boss as the fallback user."""
    local = {"local_domain": ["local.example"], "local_user": "boss", "distribute": True}
    return profile(mailbox, name, **{**local, **keys})


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A folder with a pps.toml, and what stands around it."""

    folder: Path

    @property
    def config(self) -> Config:
        """The configuration, checked."""
        return load_config(self.folder / "pps.toml")

    def pps(self, *arguments: str) -> Ended:
        """Run a command to its end."""
        return pps(*arguments, folder=self.folder)

    def status(self) -> dict[str, Any]:
        """Return what `pps status --json` prints."""
        found: dict[str, Any] = json.loads(self.pps("status", "--json").out)
        return found

    def events(self, event: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """Return the log's lines, oldest first: those of one event, and with these fields, if asked."""
        path = self.folder / "pop3.log"
        lines = path.read_text().splitlines() if path.exists() else []
        wanted = fields | ({} if event is None else {"event": event})
        return [found for found in map(json.loads, lines) if wanted.items() <= found.items()]

    def inbox(self, user: str) -> list[bytes]:
        """Return what a user's Maildir holds."""
        return messages(self.folder / "mail" / user)

    def counts(self) -> dict[str, int]:
        """Return how many mails each Maildir holds."""
        return {path.name: len(messages(path)) for path in sorted((self.folder / "mail").glob("*"))}

    @contextmanager
    def running(self, *commands: str) -> Iterator[None]:
        """Run `pps COMMAND`, or `python -m ROLE` for each of ROLES, beside the test; each must end well when asked."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", *((command,) if command in ROLES else ("manager.cli.main", command))],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for command in commands
        ]
        try:
            yield
        except BaseException:
            for process in processes:
                process.kill()
                process.communicate()
            raise
        for process in processes:
            process.send_signal(signal.SIGTERM)
        ends = [(process.communicate(timeout=STOP_SECONDS)[0], process.returncode) for process in processes]
        assert ends == [(b"", 0)] * len(processes)

    async def die_at(self, point: str) -> None:
        """Run `pps run` until it kills itself at the point."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "manager.cli.main", "run"),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: point},
        )
        assert await process.wait() == -signal.SIGKILL

    @asynccontextmanager
    async def serving(self, *, shown: bool = False) -> AsyncIterator["Serving"]:
        """Run every role in this process, as `pps run` does; `shown`: with metrics."""
        config = self.config
        async with opened(config, role="test", shown=shown) as parts:
            await parts.ledger.sync_profiles(config.profiles, managed_by=MANAGED_BY_FILE)
            stop = asyncio.Event()
            workers = await compose(parts, set(ROLES))
            reloader = Reloader(parts=parts, workers=workers, syncs=True)
            working = asyncio.create_task(run_reloading(reloader, stop, asyncio.Event()))
            try:
                yield Serving(parts=parts, working=working, reloader=reloader)
            finally:
                stop.set()
                await working


def install(
    folder: Path,
    *profiles: Mapping[str, object],
    to: str = MAILDIR,
    password: str = PASSWORD,
    targets: Mapping[str, Mapping[str, object]] | None = None,
    **service: object,
) -> Installation:
    """Write pps.toml, with one target `local` unless others are given, and the file of each profile's password."""
    sections = ["[service]", *_lines(service)]
    for name, target in (targets or {"local": {"url": to}}).items():
        sections += [f"[target.{name}]", *_lines(target)]
    for table in profiles:
        sections += ["[[profile]]", *_lines(table)]
        secret = folder / f"{table['name']}.secret"
        secret.write_text(password)
        secret.chmod(0o600)
    (folder / "pps.toml").write_text("\n".join(sections) + "\n")
    return Installation(folder=folder)


def _lines(table: Mapping[str, object]) -> list[str]:
    """Return a table's keys as TOML: texts, booleans, numbers and lists are written as in JSON, inner tables aren't."""
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: object) -> str:
    return f"{{ {', '.join(_lines(value))} }}" if isinstance(value, Mapping) else json.dumps(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A running service in this process."""

    parts: Parts
    working: "asyncio.Task[None]"
    reloader: Reloader

    async def poll(self, name: str = "office") -> ProfileStatus:
        """Make a profile due, and return how it stands once a poll that began since has ended."""
        began = (await status_of(self.parts.ledger)).at
        assert await self.parts.ledger.set_due(name)
        asked = (await status_of(self.parts.ledger)).at

        def ended(status: Status) -> bool:
            polled = _named(status, name)
            begun = polled.last_started_at is not None and polled.last_started_at >= began
            waits = polled.due_at is not None and polled.due_at <= asked  # a poll ran already: ours comes after it
            return begun and not polled.polling and not waits

        return _named(await self.until(ended), name)

    async def until(
        self, condition: Callable[[Status], bool], *, nudge: Callable[[], Awaitable[None]] | None = None
    ) -> Status:
        """Return the ledger's status once it is as wished; before each look, `nudge`."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if self.working.done():
                    self.working.result()
                if nudge is not None:
                    await nudge()
                status = await status_of(self.parts.ledger)
                if condition(status):
                    return status
                await asyncio.sleep(LOOK_SECONDS)

    async def counted(self) -> Scraped:
        """Return what /metrics would show."""
        return Scraped.read((await self.parts.metrics.page()).decode())

    async def make_due(self) -> None:
        """Age what waits for a retry until it is due."""
        await change(self.parts.ledger, "UPDATE deliveries SET next_attempt_at = 1 WHERE next_attempt_at IS NOT NULL")


def _named(status: Status, name: str) -> ProfileStatus:
    return next(found for found in status.profiles if found.name == name)


def wait_until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(LOOK_SECONDS)


def traces(folder: Path, secret: bytes) -> list[str]:
    """Return the files below a folder that hold a secret, other than those that are there to hold it."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and path.suffix != ".secret" and secret in path.read_bytes():
                found.append(str(path))
    return found
