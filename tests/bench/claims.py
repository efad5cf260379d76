"""What the schedule bears: claims a second and how late they are, with many profiles on PostgreSQL, synced to disk.

`python -m tests.bench.claims` spreads the profiles' due times evenly over five minutes, and lets fetchers that end
each poll at once claim what is due. It fails where a query of the claim reads the whole schedule.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from common.failures import PollResult
from common.ledger import Ledger, migrate_database
from common.ledger.leasing import due_query
from common.ledger.records import Lease
from common.ledger.schedule import PollEnd
from common.profile import Profile
from tests.servers.postgres import Postgres
from tests.status import status_of

INTERVAL_SECONDS: Final = 300
BATCH: Final = 50
AHEAD_SECONDS: Final = 20
"""How long after they were shifted the first is due: what shifting takes is no backlog."""

_FILL: Final = """
WITH made AS (SELECT n, lpad(CAST(n AS text), 36, '0') AS id FROM generate_series(1, :count) AS n),
named AS (
    INSERT INTO profiles (id, name, enabled, revision, mailbox, settings, managed_by)
    SELECT id, 'p' || n, true, 1, md5(id),
           replace(replace(:settings, 'NAME', 'p' || n), 'HOST', 'pop' || n % :hosts), 'file' FROM made)
INSERT INTO schedule (profile_id, due_at, lease_epoch, auth_failures, failures, listed, shrunk, host, hides)
SELECT id, :now + (CAST(n AS bigint) * :spread / :count), 0, 0, 0, 0, false,
       'pop' || n % :hosts || '.example.net', false FROM made
"""

_LAG: Final = "SELECT last_started_at - due_at FROM schedule WHERE profile_id = ANY(:ids)"


async def fill(ledger: Ledger, count: int, hosts: int) -> None:
    """Insert profiles of so many hosts, due one after the other within the interval."""
    profile = Profile.from_document(
        {"name": "NAME", "server": "HOST.example.net 995s", "user": "u", "password": "env:X", "local_user": "ann"}
    )
    settings = profile.to_json().replace("host.example.net", "HOST.example.net")
    now = (await status_of(ledger)).at
    values = {"count": count, "hosts": hosts, "settings": settings, "now": now, "spread": INTERVAL_SECONDS * 1000}
    async with ledger._engine.begin() as connection:
        await connection.execute(text(_FILL), values)
    async with ledger._engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE profiles, schedule"))
        shift = (await status_of(ledger)).at + AHEAD_SECONDS * 1000 - now
        await connection.execute(text("UPDATE schedule SET due_at = due_at + :shift"), {"shift": shift})


async def plan_of_claim(ledger: Ledger) -> list[str]:
    """Return PostgreSQL's plan for the query that finds what is due."""
    now = (await status_of(ledger)).at
    query = due_query(time=now, limit=BATCH, names=None, shut=frozenset({"pop1.example.net"}))
    sql = str(query.compile(dialect=ledger._engine.dialect, compile_kwargs={"literal_binds": True}))
    return await ledger.read(lambda connection: _explained(connection, sql))


async def _explained(connection: AsyncConnection, sql: str) -> list[str]:
    return [str(row[0]) for row in (await connection.execute(text(f"EXPLAIN {sql}"))).all()]


class Fetcher:
    """Claims as a fetcher does, and ends each poll at once."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.claims = 0
        self.lags: list[int] = []
        self.waits: list[float] = []  # seconds that a claim took
        self._ledger = ledger
        self._name = name

    async def run(self, until: float) -> None:
        """Claim until then."""
        while time.monotonic() < until:
            wait = await self._ledger.seconds_to_next_poll()
            if wait is None or wait > 0:
                await asyncio.sleep(min(wait or 0.05, 0.05))
                continue
            began = time.monotonic()
            leases = await self._ledger.claim_due(self._name, BATCH)
            self.waits.append(time.monotonic() - began)
            self.claims += len(leases)
            self.lags += await self._lags(leases)
            await asyncio.gather(*(self._end(lease) for lease in leases))

    async def _lags(self, leases: Sequence[Lease]) -> list[int]:
        ids = [lease.profile_id for lease in leases]
        async with self._ledger._engine.connect() as connection:
            return [int(row[0]) for row in (await connection.execute(text(_LAG), {"ids": ids})).all()]

    async def _end(self, lease: Lease) -> None:
        ended = PollEnd(lease=lease, result=PollResult.EMPTY, error=None, due_in=INTERVAL_SECONDS)
        await self._ledger.end_poll(ended)


def share(values: list[Any], part: float) -> Any:  # noqa: ANN401 (whatever was measured)
    """Return the value below which this part of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0


async def measure(
    postgres: Postgres, folder: Path, *, profiles: int, hosts: int, fetchers: int, seconds: float
) -> bool:
    """Measure; return whether no query reads the whole schedule."""
    url = postgres.fresh_database()
    await migrate_database(url, base=folder)
    log = structlog.get_logger()
    ledgers = [await Ledger.open(url, base=folder, log=log) for _ in range(fetchers)]
    await fill(ledgers[0], profiles, hosts)
    plan = await plan_of_claim(ledgers[0])
    workers = [Fetcher(ledger, f"fetcher-{n}") for n, ledger in enumerate(ledgers)]
    await asyncio.sleep(await ledgers[0].seconds_to_next_poll() or 0)
    began = time.monotonic()
    await asyncio.gather(*(worker.run(began + seconds) for worker in workers))
    took = time.monotonic() - began
    after = await plan_of_claim(ledgers[0])
    for ledger in ledgers:
        await ledger.close()
    claims = sum(worker.claims for worker in workers)
    lags = [lag for worker in workers for lag in worker.lags]
    waits = [wait for worker in workers for wait in worker.waits]
    sys.stdout.write(
        f"{profiles} profiles on {hosts} hosts, due every {INTERVAL_SECONDS} s ({profiles / INTERVAL_SECONDS:.0f}/s), "
        f"{fetchers} fetchers: {claims} claims in {took:.0f} s, {claims / took:.0f}/s; "
        f"lag p50 {share(lags, 0.5)} ms, p99 {share(lags, 0.99)} ms, most {max(lags, default=0)} ms; "
        f"a claim of at most {BATCH}: p50 {share(waits, 0.5) * 1000:.0f} ms, p99 {share(waits, 0.99) * 1000:.0f} ms\n"
        + "\n".join(after)
        + "\n"
    )
    return not any("Seq Scan on schedule" in line for line in [*plan, *after])


def main() -> int:
    """Measure with the numbers of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=100_000)
    parser.add_argument("--hosts", type=int, default=2_000)
    parser.add_argument("--fetchers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    with Postgres(durable=True) as postgres, tempfile.TemporaryDirectory(prefix="pps-claims-") as folder:
        measuring = measure(
            postgres,
            Path(folder),
            profiles=given.profiles,
            hosts=given.hosts,
            fetchers=given.fetchers,
            seconds=given.seconds,
        )
        return 0 if asyncio.run(measuring) else 1


if __name__ == "__main__":
    sys.exit(main())
