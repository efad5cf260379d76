"""PostgreSQL as a ledger: rights, TLS, and what ends each wait, on servers that run."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from common.failures import PpsError
from common.ledger import Ledger, RowRejectedError, migrate_database, postgresql
from common.ledger.writer import Operation
from common.retention import USUAL
from fetcher import work
from manager.doctor.servers import ledger_checks
from tests.bad_input.calls import called
from tests.history import add_history
from tests.integration.service import Installation, catch_all, install, wait_until
from tests.ledger import change, profile
from tests.mails import mail
from tests.servers.certificates import Certificates, issue
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.postgres import Postgres
from tests.servers.postgres_roles import WorkDatabases, as_owner, name_of, owned_by_another

log = structlog.get_logger()


@asynccontextmanager
async def opened(url: str, folder: Path, *, role: str = "test") -> AsyncIterator[Ledger]:
    """Open a ledger."""
    ledger = await Ledger.open(url, base=folder, log=log, role=role)
    try:
        yield ledger
    finally:
        await ledger.close()


async def shown(ledger: Ledger, query: str) -> str:
    """Return the first value that a query finds."""

    async def first(connection: AsyncConnection) -> str:
        return str((await connection.execute(text(query))).scalar())

    return await ledger.read(first)


async def test_mail_goes_through_with_the_least_rights(mailbox: Mailbox, postgres: Postgres, tmp_path: Path) -> None:
    """One role migrates, another works; the doctor finds nothing amiss, and names what is taken away."""
    postgres.start()
    url = owned_by_another(postgres)
    there = install(tmp_path, catch_all(mailbox), ledger=url)
    refused = await asyncio.to_thread(there.pps, "migrate")
    assert (refused.code, "permission denied for schema public" in refused.err) == (1, True)
    assert "deploy/postgresql/roles.sql" in refused.err
    (tmp_path / "migrate.toml").write_text(f'[service]\nledger = "{as_owner(url)}"\n')
    assert (await asyncio.to_thread(there.pps, "migrate", "--config", "migrate.toml")).code == 0

    mailbox.plant(mail(to="ann@local.example, bob@local.example"))
    async with there.serving() as service:
        await service.poll()
        await service.until(lambda status: status.profiles[0].mails == {"deleted": 1})
    assert there.counts() == {"ann": 1, "bob": 1}

    assert await grades(there) == ["ok"]
    postgres.query("REVOKE INSERT, DELETE ON mails, hosts FROM pps", database=name_of(url))
    (check,) = [check async for check in ledger_checks(there.config)]
    assert "lacks DELETE, INSERT ON hosts; DELETE, INSERT ON mails: GRANT them" in check.says
    postgres.drop(url)


async def grades(there: Installation) -> list[str]:
    """Return what the doctor thinks of the ledger; that nothing polls at the moment is no matter of PostgreSQL."""
    return [check.grade.value async for check in ledger_checks(there.config) if check.area == "ledger"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Issue a certificate for 127.0.0.1 alone."""
    return issue(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture(scope="module")
def private(certificates: Certificates) -> Iterator[Postgres]:
    """Run a PostgreSQL that takes connections by TLS only."""
    with Postgres(tls=certificates) as server:
        yield server


async def test_tls_verifies_server_and_name(private: Postgres, certificates: Certificates, tmp_path: Path) -> None:
    """With the authority's certificate the ledger opens, encrypted by TLS 1.2 or newer."""
    (tmp_path / "ca.pem").write_bytes(certificates.ca.read_bytes())
    url = f"{private.url}?{urlencode({'sslmode': 'verify-full', 'sslrootcert': 'ca.pem'})}"
    await migrate_database(url, base=tmp_path)
    async with opened(url, tmp_path) as ledger:
        version = await shown(ledger, "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert version in {"TLSv1.2", "TLSv1.3"}


async def test_a_server_of_another_authority_or_name_is_refused(
    private: Postgres, certificates: Certificates, tmp_path: Path
) -> None:
    """One line says which of both it is; without TLS the server itself refuses."""
    (tmp_path / "other").mkdir()
    other = issue(tmp_path / "other")
    verified = {"sslmode": "verify-full", "sslrootcert": str(certificates.ca)}
    cases = (
        (
            private.url,
            verified | {"sslrootcert": str(other.ca)},
            "its certificate isn't trusted: unable to get local issuer",
        ),
        (private.url.replace("127.0.0.1", "localhost"), verified, "Hostname mismatch"),
        (private.url, {"sslmode": "disable"}, "no encryption"),
    )
    for url, options, said in cases:
        with pytest.raises(PpsError) as refused:
            async with opened(f"{url}?{urlencode(options)}", tmp_path):
                pass
        assert said in str(refused.value), str(refused.value)
        assert str(refused.value).startswith("[service] ledger: can't use")
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("sslmod=require", 'unknown option sslmod in the URL: did you mean "sslmode"?'),
        ("sslmode=verify", 'sslmode: did you mean "verify-ca"?'),
        ("sslmode=verify-full", "sslmode=verify-full needs sslrootcert=FILE"),
        (
            "sslmode=require&sslrootcert=gone.pem",
            "sslrootcert: can't read {folder}/gone.pem: No such file or directory",
        ),
    ],
)
def test_an_option_of_the_url_that_is_wrong_is_named(options: str, said: str, tmp_path: Path) -> None:
    """Before anything is connected to; exit code 2."""
    (tmp_path / "pps.toml").write_text(f'[service]\nledger = "postgresql://pps@127.0.0.1:1/pps?{options}"\n')
    ended = called(["migrate"], tmp_path)
    assert ended.code == 2
    assert said.format(folder=tmp_path) in ended.err
    assert ended.err.count("\n") == 1


@pytest.fixture
async def url(work_databases: WorkDatabases) -> AsyncIterator[str]:
    """Make a migrated ledger."""
    made = await work_databases.fresh()
    yield made
    work_databases.drop(made)


async def test_every_wait_has_an_end_and_every_session_a_name(url: str, postgres: Postgres, tmp_path: Path) -> None:
    """What pg_stat_activity shows tells the roles apart; a migration alone may take its time."""
    async with opened(url, tmp_path, role="fetcher") as ledger:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        assert [await shown(ledger, f"SHOW {name}") for name in names] == ["1min", "15s", "1min"]
        assert postgres.query("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'pps fetcher'") == "t"


async def test_reads_outlive_a_restart_of_the_server(url: str, postgres: Postgres, tmp_path: Path) -> None:
    """Connections that the server ended while they were idle are replaced, and nobody hears of it."""
    async with opened(url, tmp_path) as ledger:
        await ledger.sync_profiles([profile()], managed_by="file")
        await asyncio.gather(*(ledger.paused_targets() for _ in range(4)))
        postgres.restart()
        assert await asyncio.gather(*(ledger.paused_targets() for _ in range(4))) == [{}] * 4
        assert await ledger.set_due("office")


async def test_a_fetcher_says_once_that_the_ledger_is_away(
    url: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the schedule every second: an outage of a night must not fill the log."""
    monkeypatch.setattr(work, "LOOK_SECONDS", 0.01)
    nobody = {"name": "office", "server": "127.0.0.1 1", "user": "office", "password": "file:office.secret"}
    there = install(tmp_path, {**nobody, "local_user": "ann@local.example"}, ledger=url)
    async with there.serving():
        await asyncio.to_thread(wait_until, lambda: bool(there.events("poll_ended")))
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(wait_until, lambda: bool(there.events("schedule_unanswered")))
        await asyncio.to_thread(postgres.start)
        await asyncio.to_thread(wait_until, lambda: bool(there.events("schedule_answered")))

    assert len(there.events("schedule_unanswered")) == 1


async def test_a_read_begins_no_transaction_and_a_write_after_it_does(url: str, tmp_path: Path) -> None:
    """On the same connection: what fails halfway leaves nothing behind."""

    async def begun_twice(connection: AsyncConnection) -> list[datetime]:
        return [(await connection.execute(text("SELECT now()"))).scalar_one() for _ in range(2)]

    async def fails(connection: AsyncConnection, _rows: list[str]) -> list[None]:
        await connection.execute(text("INSERT INTO targets (name) VALUES ('half')"))
        await connection.execute(text("SELECT 1 / 0"))
        return [None]

    operation: Operation[str, None] = Operation(name="fails", rank=1, key=str, apply=fails)  # type: ignore[arg-type]
    async with opened(url, tmp_path) as ledger:
        for _ in range(3):
            first, second = await ledger.read(begun_twice)
            assert first < second  # one transaction would have begun once
            with pytest.raises(RowRejectedError):
                await ledger.write(operation, "row")
        assert await shown(ledger, "SELECT count(*) FROM targets") == "0"


async def test_reads_that_find_no_free_connection_say_so(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that answers too slowly is told apart from one that is away."""
    monkeypatch.setattr(postgresql, "POOL_SECONDS", 0.05)
    held, done = asyncio.Semaphore(0), asyncio.Event()

    async def hold(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1"))
        held.release()
        await done.wait()

    async with opened(url, tmp_path) as ledger:
        most = postgresql.CONNECTIONS + postgresql.MORE_CONNECTIONS
        holders = [asyncio.create_task(ledger.read(hold)) for _ in range(most)]
        for _ in holders:
            await held.acquire()
        with pytest.raises(PpsError, match="all 8 connections of this process were in use"):
            await ledger.paused_targets()
        done.set()
        await asyncio.gather(*holders)


async def test_a_row_that_another_holds_too_long_is_tried_again(
    url: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a lock ends, its transaction is rolled back and made again, and the caller sees its answer."""
    monkeypatch.setattr(postgresql, "LOCK_SECONDS", 1)
    async with opened(url, tmp_path) as ledger, opened(url, tmp_path) as other:
        await ledger.sync_profiles([profile()], managed_by="file")
        async with other._engine.begin() as connection:
            await connection.execute(text("UPDATE schedule SET due_at = 1"))
            write = asyncio.create_task(ledger.set_due("office"))
            while ledger._writer.trouble is None:
                await asyncio.to_thread(postgres.query, "SELECT 1")
            assert not write.done()
        assert await write


async def test_transactions_that_lock_each_other_out_are_both_made(url: str, tmp_path: Path) -> None:
    """PostgreSQL ends one of two transactions in a deadlock; it is made again, and both callers have their answer."""
    met = asyncio.Barrier(2)
    tries: list[str] = []

    async def crossed(connection: AsyncConnection, rows: list[str]) -> list[None]:
        tries.append(rows[0])
        first, second = sorted(["a", "b"], reverse=rows[0] == "b")
        lock = text("UPDATE targets SET reason = name WHERE name = :name")
        await connection.execute(lock, {"name": first})
        if len(tries) <= 2:  # both hold one row before either asks for the other's
            await met.wait()
        await connection.execute(lock, {"name": second})
        return [None for _ in rows]

    operation: Operation[str, None] = Operation(name="crossed", rank=1, key=str, apply=crossed)  # type: ignore[arg-type]
    async with opened(url, tmp_path) as one, opened(url, tmp_path) as other:
        await change(one, "INSERT INTO targets (name) VALUES ('a'), ('b')")
        await asyncio.gather(one.write(operation, "a"), other.write(operation, "b"))
    assert len(tries) == 3


async def test_a_transaction_that_stands_still_is_ended_and_made_again(
    url: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped in the midst of one doesn't hold its rows; once it goes on, it begins anew."""
    monkeypatch.setattr(postgresql, "IDLE_SECONDS", 1)
    begun = 0

    async def stands_still(connection: AsyncConnection, rows: list[str]) -> list[None]:
        nonlocal begun
        begun += 1
        await connection.execute(text("UPDATE schedule SET due_at = 7"))
        if begun == 1:
            lives = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pps still'"
            while await asyncio.to_thread(postgres.query, lives) != "0":
                pass
        return [None for _ in rows]

    operation: Operation[str, None] = Operation(name="still", rank=1, key=str, apply=stands_still)  # type: ignore[arg-type]
    async with opened(url, tmp_path) as first:
        await first.sync_profiles([profile()], managed_by="file")
    async with opened(url, tmp_path, role="still") as ledger:
        await ledger.write(operation, "row")
        assert begun == 2
        assert await shown(ledger, "SELECT due_at FROM schedule") == "7"


async def test_pruning_waits_for_nobody(url: str, tmp_path: Path) -> None:
    """Rows that another transaction holds are passed over, and forgotten the next time."""
    async with opened(url, tmp_path) as ledger, opened(url, tmp_path) as other:
        await ledger.sync_profiles([profile()], managed_by="file")
        (lease,) = await ledger.claim_due("test", 1)
        await add_history(ledger, [(lease.profile.mailbox, lease.profile_id)], count=20, days=20)
        await change(ledger, "UPDATE mails SET unseen_since = unseen_since - :past", past=USUAL * 1000)
        await change(ledger, "UPDATE schedule SET last_success_at = (SELECT max(progress_at) FROM mails)")
        async with other._engine.begin() as connection:
            held = "SELECT id FROM mails ORDER BY unseen_since LIMIT 3 FOR UPDATE"
            await connection.execute(text(held))
            assert await ledger.prune(USUAL) == 17
        assert await ledger.prune(USUAL) == 3


async def test_two_migrations_at_once_are_one_after_the_other(postgres: Postgres, tmp_path: Path) -> None:
    """Whoever starts a cluster may start several of these: each finds or makes the schema."""
    fresh = postgres.fresh_database()
    await asyncio.gather(*(migrate_database(fresh, base=tmp_path) for _ in range(3)))
    async with opened(fresh, tmp_path) as ledger:
        assert await shown(ledger, "SELECT count(*) FROM installation") == "1"
    postgres.drop(fresh)
