"""How long `pps verify` takes over N settled mails on SQLite, each in a Maildir, and how much memory it needs.

`python -m tests.bench.verification 100000 10` verifies a hundred thousand mails, of which every tenth has a file.
"""

import asyncio
import hashlib
import resource
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from common.config import load_config
from common.ledger import Ledger
from common.ledger.schema import new_id
from common.log import open_log
from deliverer.maildir import file_name
from manager.verify.verification import verify
from tests.ledger import profile

BODY: Final = b"Subject: hello\n\n" + b"x" * 70 * 50 + b"\n"
TRACE: Final = b"Received: from a by b\n\tfor c; today\n"
CONFIG: Final = '[target.local]\nurl = "maildir:mail/{user}?create=yes"\n'
USERS: Final = 100


async def fill(folder: Path, mails: int, every: int) -> None:
    """Make a ledger of delivered and deleted mails, and the files of every so many."""
    (folder / "pps.toml").write_text(CONFIG)
    log = open_log("-", folder, level="error")
    ledger = await Ledger.open("sqlite:///pps.db", base=folder, log=log)
    await ledger.sync_profiles([profile(enabled=False)], managed_by="file")
    await ledger.close()
    raw = BODY.replace(b"\n", b"\r\n")
    digest, now = hashlib.sha256(raw).digest(), int(time.time() * 1000)
    with closing(sqlite3.connect(folder / "pps.db")) as connection, connection:
        ((owner, mailbox),) = connection.execute("SELECT id, mailbox FROM profiles").fetchall()
        for number in range(mails):
            mail, copy, delivery = new_id(), new_id(), new_id()
            user = f"user{number % USERS}"
            connection.execute(
                "INSERT INTO mails (id, mailbox, profile_id, uidl_key, uidl, size, state, fetches, breaks, copy_id, "
                "digest, octets, listed_at, progress_at, unseen_since, fetched_at) "
                "VALUES (?, ?, ?, ?, ?, ?, 'deleted', 0, 0, ?, ?, ?, ?, ?, ?, ?)",
                (mail, mailbox, owner, mail.encode(), b"", len(raw), copy, digest, len(raw), now, now, now, now),
            )
            connection.execute("INSERT INTO copies VALUES (?, ?, ?, ?)", (copy, mailbox, mail, now))
            connection.execute(
                "INSERT INTO deliveries (id, copy_id, mail_id, profile_id, recipient, fallback, reason, target, "
                "sender, source_host, state, attempts, ambiguous, claims, swept_claims, last_reply, created_at, "
                "done_at) "
                "VALUES (?, ?, ?, ?, ?, '', 'To', 'local', '', '', 'delivered', 1, 0, 1, 1, 'stored', ?, ?)",
                (delivery, copy, mail, owner, f"{user}@example.com", now, now),
            )
            if number % every == 0:
                _store(folder / "mail" / user, file_name(delivery))


def _store(maildir: Path, name: str) -> None:
    for part in ("new", "cur"):
        (maildir / part).mkdir(parents=True, exist_ok=True)
    (maildir / "new" / name).write_bytes(TRACE + BODY)


async def measure(mails: int, every: int) -> None:
    """Fill, verify, and print."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        await fill(folder, mails, every)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        report = await verify(load_config(folder / "pps.toml"), (), remote=True)
        cpu = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    local = report.targets["local"]
    sys.stdout.write(f"{report.mails} mails, {local.present} files read, {local.gone} gone, {report.total} breaches\n")
    sys.stdout.write(f"{report.seconds:.1f} s, {cpu:.1f} s of CPU, {1e6 * report.seconds / mails:.0f} µs a mail\n")
    sys.stdout.write(f"memory: {before // 1024} MB before, {peak // 1024} MB at its peak\n")


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]), int(sys.argv[2])))
