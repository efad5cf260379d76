"""`make demo`: a catch-all of 25 varied mails is pulled, sorted to four local users' Maildirs, and accounted for.

The POP3 server is Dovecot where it is installed, else the tests' sample server; everything else is the `pps` that is
installed, run as a user runs it. The demo ends with exit code 1 unless every mail is where it belongs.
"""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.maildir import account, as_lines
from tests.mails import DOMAIN, FALLBACK, Sample, by_recipient
from tests.sample import LOCAL_USERS, demo_mails

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "demo"
USER: Final = "catchall"
PASSWORD: Final = "correct horse"

_WHO_AND_WHY: Final = """
SELECT mails.digest, deliveries.recipient, deliveries.reason FROM deliveries
JOIN mails ON mails.copy_id = deliveries.copy_id WHERE deliveries.state = 'delivered' ORDER BY deliveries.recipient
"""


Remaining = Callable[[], int]
"""Counts the mails that the remote mailbox holds."""


async def main() -> int:
    """Run the demo; return the exit code."""
    console = Console(width=120)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    samples = demo_mails()
    async with _remote(samples) as (name, port, remaining):
        console.print(f"{remaining()} mails wait in the catch-all mailbox of {DOMAIN}, on {name}, 127.0.0.1:{port}.\n")
        began = time.monotonic()
        code = await asyncio.to_thread(_pull, console, port)
        seconds = time.monotonic() - began
        left = remaining()
    _show(console, samples)
    accounting = account(by_recipient(samples), FOLDER / "mail", "{domain}/{user}")
    deliveries = sum(len(sample.recipients) for sample in samples)
    good = accounting.exact and left == 0 and code == 0
    console.print(
        f"\nMaildirs: {FOLDER.relative_to(ROOT)}/mail   ledger: demo/state/pull.db   log: demo/state/pull.log"
    )
    console.print(
        f"{len(samples)} mails pulled in {seconds:.1f} s: {len(samples) - left} deleted from the server, "
        f"{left} left there; {deliveries} deliveries to {len(LOCAL_USERS)} users: {accounting}. "
        f"{'All accounted for.' if good else 'NOT as it should be.'}",
        soft_wrap=True,
    )
    return 0 if good else 1


@asynccontextmanager
async def _remote(samples: Sequence[Sample]) -> AsyncIterator[tuple[str, int, Remaining]]:
    """Run a POP3 server that holds the samples."""
    if shutil.which("dovecot"):
        from tests.servers.dovecot import Dovecot  # noqa: PLC0415 (only where it is installed)

        with Dovecot({USER: PASSWORD}) as dovecot:
            dovecot.plant(USER, [sample.raw for sample in samples])
            yield "Dovecot", dovecot.pop3_port, lambda: len(dovecot.remaining(USER))
        return
    from tests.servers.pop3 import Pop3Server  # noqa: PLC0415 (only where Dovecot is not installed)

    async with Pop3Server() as server:
        mailbox = server.mailbox(USER, PASSWORD)
        mailbox.plant(*(sample.raw for sample in samples))
        yield "the sample server", server.port, lambda: len(mailbox.remaining())


def _pull(console: Console, port: int) -> int:
    """Pull with the installed command, as a user would."""
    options = {
        "--server": f"127.0.0.1 {port}",
        "--user": USER,
        "--password": "env:DEMO_PASSWORD",
        "--to": "maildir:mail/{domain}/{user}?create=yes",
        "--local-domain": DOMAIN,
        "--local-user": FALLBACK,
        "--state": "state/pull.db",
    }
    arguments = ["pull", "--distribute", *(part for pair in options.items() for part in pair)]
    shown = " ".join(f'"{part}"' if " " in part or "{" in part else part for part in arguments)
    console.print(f"$ pps {shown}", soft_wrap=True, markup=False)
    command = [str(Path(sys.executable).with_name("pps")), *arguments]
    (FOLDER / "state").mkdir()
    return subprocess.run(command, cwd=FOLDER, env=os.environ | {"DEMO_PASSWORD": PASSWORD}, check=False).returncode


def _show(console: Console, samples: Sequence[Sample]) -> None:
    """Show who got each mail and why, as the ledger has it, and how many each user has."""
    got: dict[bytes, list[tuple[str, str]]] = {}
    with sqlite3.connect(f"file:{FOLDER / 'state' / 'pull.db'}?mode=ro", uri=True) as ledger:
        for digest, recipient, reason in ledger.execute(_WHO_AND_WHY):
            got.setdefault(digest, []).append((recipient, reason))
    table = Table("mail", "who got it", "why", title="Who got what, and why")
    for sample in samples:
        lines = got.get(hashlib.sha256(as_lines(sample.raw)).digest(), [("nobody", "not delivered")])
        table.add_row(
            sample.label, "\n".join(who.partition("@")[0] for who, _ in lines), "\n".join(why for _, why in lines)
        )
    console.print(table)
    for user in LOCAL_USERS:
        count = sum(1 for lines in got.values() for who, _ in lines if who == f"{user}@{DOMAIN}")
        console.print(f"  {user + '@' + DOMAIN:<24} {count:>3} mails{'   (the fallback)' if user == FALLBACK else ''}")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
