"""Many mailboxes through one process, behind a relay that delays 25 ms each way; or a large mail in each.

`python -m tests.bench.mailboxes` pulls 1,000 mailboxes of 10 mails: mailboxes a second, memory, and how long the last
one waited for its turn. `--large` pulls 100 mailboxes of one mail of 30 MB, 100 sessions at once, and fails where the
process needs more than 400 MB.
"""

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.bench.relay import relay_to
from tests.load import Role, roles
from tests.mails import mail
from tests.servers.dovecot import PASSWORD, Dovecot

DELAY_MS: Final = 25
DEADLINE_SECONDS: Final = 900
LARGE: Final = 30_000_000
MOST_MEMORY_KIB: Final = 400 * 1024

_SERVICE: Final = """
[service]
sessions = {sessions}
host_sessions = {sessions}

[target.local]
url = "maildir:mail/{{user}}?create=yes"
"""

_PROFILE: Final = """
[[profile]]
name = "p{number}"
server = "127.0.0.1 {port}"
user = "box{number}"
password = "env:BENCH_PASSWORD"
local_user = "ann@local.example"
interval = "1h"
"""


def write_config(folder: Path, *, mailboxes: int, port: int, sessions: int) -> None:
    """Write the configuration of so many mailboxes on one server."""
    profiles = (_PROFILE.format(number=number, port=port) for number in range(mailboxes))
    (folder / "pps.toml").write_text(_SERVICE.format(sessions=sessions) + "".join(profiles))


def deleted(folder: Path) -> int:
    """Return how many mails are delivered and deleted so far."""
    return _asked(folder, "SELECT count(*) FROM mails WHERE state = 'deleted'")


def longest_wait(folder: Path) -> float:
    """Return the seconds between the first poll's start and the start of the last profile's first one."""
    first: dict[str, datetime] = {}
    for path in sorted(folder.glob("pop3.log*"), reverse=True):  # the oldest part has the highest number
        for event in map(json.loads, path.read_text().splitlines()):
            if event["event"] == "poll_started":
                first.setdefault(event["profile"], datetime.fromisoformat(event["timestamp"]))
    return (max(first.values()) - min(first.values())).total_seconds() if first else 0.0


def _asked(folder: Path, query: str) -> int:
    try:
        connection = sqlite3.connect(f"file:{folder}/pps.db?mode=ro", uri=True, timeout=30)
    except sqlite3.OperationalError:
        return 0
    try:
        return int(connection.execute(query).fetchone()[0] or 0)
    except sqlite3.OperationalError:  # it has no tables yet
        return 0
    finally:
        connection.close()


def wait_for(folder: Path, mails: int, running: Sequence[Role], began: float) -> None:
    """Return once all mails are deleted."""
    while deleted(folder) < mails and time.monotonic() < began + DEADLINE_SECONDS:
        time.sleep(0.5)
        for role in running:
            role.look()


def plant(dovecot: Dovecot, mailboxes: int, mails: int, size: int) -> None:
    """Make the mailboxes, with so many mails in each; a large one is one file with many names."""
    for number in range(mailboxes):
        dovecot.add_user(f"box{number}")
    if size < LARGE:
        for number in range(mailboxes):
            dovecot.plant(f"box{number}", [mail(size=size) for _ in range(mails)])
        return
    dovecot.plant("box0", [mail(size=size)])
    first = next((dovecot.folder / "pop3" / "box0" / "Maildir" / "new").iterdir())
    for number in range(1, mailboxes):
        os.link(first, dovecot.folder / "pop3" / f"box{number}" / "Maildir" / "new" / first.name)


def measure(folder: Path, *, mailboxes: int, mails: int, size: int, sessions: int) -> Role | None:
    """Pull all, tell what it took, and return the process; None if mail was left."""
    with Dovecot() as dovecot:
        plant(dovecot, mailboxes, mails, size)
        with relay_to(dovecot.pop3_port, DELAY_MS) as port:
            write_config(folder, mailboxes=mailboxes, port=port, sessions=sessions)
            environment = os.environ | {"BENCH_PASSWORD": PASSWORD}
            began = time.monotonic()
            with roles(("run",), folder, environment) as running:
                wait_for(folder, mailboxes * mails, running, began)
                seconds = time.monotonic() - began
    done = deleted(folder)
    sys.stdout.write(
        f"{mailboxes} mailboxes of {mails} mails of {size} octets, {sessions} sessions, {DELAY_MS} ms each way: "
        f"{done} of {mailboxes * mails} mails delivered and deleted in {seconds:.1f} s, {mailboxes / seconds:.1f} "
        f"mailboxes/s, {done / seconds:.0f} mails/s; peak memory {running[0].peak_kib // 1024} MiB; "
        f"the last mailbox waited {longest_wait(folder):.1f} s for its turn\n"
    )
    return running[0] if done == mailboxes * mails else None


def main() -> int:
    """Measure with the numbers of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--mailboxes", type=int)
    parser.add_argument("--sessions", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pps-mailboxes-") as name:
        folder = Path(name)
        if given.large:
            count = given.mailboxes or 100
            process = measure(folder, mailboxes=count, mails=1, size=LARGE, sessions=given.sessions or count)
            return 0 if process is not None and process.peak_kib < MOST_MEMORY_KIB else 1
        process = measure(
            folder, mailboxes=given.mailboxes or 1000, mails=10, size=4_000, sessions=given.sessions or 50
        )
        return 0 if process is not None else 1


if __name__ == "__main__":
    sys.exit(main())
