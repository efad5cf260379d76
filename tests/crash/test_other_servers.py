"""Five hundred mails of each POP3 server that a test can start: killed in the middle, and resumed."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import ROOT
from tests.integration.service import Installation, install, wait_until
from tests.maildir import canonical, count, without_trace
from tests.mails import mail
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.mailutils import Mailutils
from tests.servers.popa3d import Popa3d

Server = Dovecot | Mailutils | Popa3d

MAILS = 500

_ADDED = re.compile(rb"^X-UIDL: [^\n]*\n", re.MULTILINE)
"""What Mailutils adds to a mail that it gives out."""


@pytest.fixture(params=[Dovecot, Mailutils, Popa3d])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run each server."""
    with request.param() as running:
        yield running


def test_five_hundred_mails_survive_a_kill_in_the_middle(server: Server, tmp_path: Path) -> None:
    """Each arrives once, octet for octet, and the mailbox ends empty."""
    user = server.add_user("ann")
    mails = [mail(size=2_000) for _ in range(MAILS)]
    server.plant("ann", mails)
    port = server.pop3_port if isinstance(server, Dovecot) else server.port
    account = {"name": "office", "server": f"127.0.0.1 {port}", "user": user, "password": "file:office.secret"}
    there = install(tmp_path, {**account, "local_user": "ann@local.example", "interval": "10s"}, password=PASSWORD)

    process = _begin(there)
    arrived_at = there.folder / "mail" / "ann"
    wait_until(lambda: count(arrived_at) >= MAILS // 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert count(arrived_at) < MAILS
    with there.running("run"):
        wait_until(lambda: server.count("ann") == 0)

    arrived = Counter(_ADDED.sub(b"", without_trace(raw)) for raw in there.inbox("ann"))
    assert arrived == Counter(canonical(raw) for raw in mails)


def _begin(there: Installation) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "manager.cli.main", "run"],
        cwd=there.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
