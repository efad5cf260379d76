"""A thousand mails up to 200 kB and one of 30 MB through real processes: every byte compared, time and memory shown.

`python -m tests.load run` is `pps run` with SQLite; `python -m tests.load roles` is a fetcher, a router and a deliverer
on RabbitMQ and PostgreSQL. A measurement, not a test: what it prints depends on the machine.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.maildir import account
from tests.mails import DOMAIN, FALLBACK, USERS, Sample, by_recipient, mail
from tests.servers.dovecot import Dovecot

USER: Final = "catchall"
PASSWORD: Final = "correct horse"
LARGE: Final = 30_000_000
DEADLINE_SECONDS: Final = 600

_CONFIG: Final = """
[service]
ledger = "{ledger}"
broker = "{broker}"

[target.local]
url = "maildir:mail/{{domain}}/{{user}}?create=yes"

[[profile]]
name = "load"
server = "127.0.0.1 {port}"
user = "catchall"
password = "env:LOAD_PASSWORD"
local_domain = ["example.com"]
local_user = "postmaster"
distribute = true
interval = "10s"
"""


def mails(count: int) -> list[Sample]:
    """Return mails of 1 kB to 60 kB, every 25th of 66 kB to 200 kB, the last of 30 MB; every fifth for two users."""
    source = random.Random(1)  # noqa: S311 (the same mails each time)
    made = []
    for number in range(count):
        size = source.randint(1_000, 60_000) if number % 25 else source.randint(66_000, 200_000)
        users = source.sample([*USERS, FALLBACK], 1 + (number % 5 == 0))
        recipients = tuple(sorted(f"{user}@{DOMAIN}" for user in users))
        raw = mail(to=", ".join(recipients), size=LARGE if number == count - 1 else size)
        made.append(Sample(label=str(number), raw=raw, recipients=recipients))
    return made


@dataclass(slots=True)
class Role:
    """One process of the service, and the most memory it had."""

    name: str
    process: "subprocess.Popen[bytes]"
    peak_kib: int = 0

    def look(self) -> None:
        """Note its peak memory so far."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_kib = int(line.split()[1])


@contextlib.contextmanager
def roles(names: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> Iterator[list[Role]]:
    """Run processes of the service; they are asked to stop at the end."""
    started = [
        Role(name, subprocess.Popen([sys.executable, "-m", "manager.cli.main", name], cwd=folder, env=environment))
        for name in names
    ]
    try:
        yield started
    finally:
        for role in started:
            role.look()
            role.process.send_signal(signal.SIGTERM)
        for role in started:
            role.process.wait(30)


def measure(count: int, mode: str, ledger: str, broker: str, folder: Path) -> bool:
    """Plant, run, wait until the mailbox is empty, account; return whether all is exact."""
    samples = mails(count)
    names = ("run",) if mode == "run" else ("fetcher", "router", "deliverer")
    with Dovecot({USER: PASSWORD}) as dovecot:
        dovecot.plant(USER, [sample.raw for sample in samples])
        config = _CONFIG.format(ledger=ledger, broker=broker, port=dovecot.pop3_port)
        (folder / "pps.toml").write_text(config)
        environment = os.environ | {"LOAD_PASSWORD": PASSWORD}
        if mode != "run":
            subprocess.run(
                [sys.executable, "-m", "manager.cli.main", "migrate"], cwd=folder, env=environment, check=True
            )
        began = time.monotonic()
        with roles(names, folder, environment) as running:
            while dovecot.count(USER) and time.monotonic() < began + DEADLINE_SECONDS:
                time.sleep(0.1)
                for role in running:
                    role.look()
            seconds = time.monotonic() - began
        left = dovecot.count(USER)
    accounting = account(by_recipient(samples), folder / "mail", "{domain}/{user}")
    octets = sum(len(sample.raw) for sample in samples)
    sys.stdout.write(
        f"{mode}: {count} mails, {octets / 1e6:.0f} MB, {seconds:.1f} s, {count / seconds:.0f} mails/s; "
        f"peak memory {', '.join(f'{role.name} {role.peak_kib // 1024} MiB' for role in running)}; "
        f"{left} left on the server; {accounting}\n"
    )
    return accounting.exact and left == 0


def main() -> int:
    """Measure one mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("run", "roles"))
    parser.add_argument("--mails", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pps-load-") as folder:
        if arguments.mode == "run":
            good = measure(arguments.mails, "run", "sqlite:///pps.db", "memory:", Path(folder))
        else:
            from tests.servers.postgres import Postgres  # noqa: PLC0415 (only for this mode)
            from tests.servers.rabbitmq import RabbitMQ  # noqa: PLC0415 (as above)

            with Postgres() as postgres, RabbitMQ() as rabbitmq:
                good = measure(arguments.mails, "roles", postgres.fresh_database(), rabbitmq.url, Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
