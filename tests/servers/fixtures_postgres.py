"""Fixtures for PostgreSQL: one cluster for all tests, and a database of its own for each test that asks."""

from collections.abc import Iterator

import pytest

from tests.servers.postgres import Postgres
from tests.servers.postgres_roles import WorkDatabases


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL; a test that ends it starts it again (`start` is idempotent)."""
    with Postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """Make an empty database, yield its URL, and remove it with whatever is still connected."""
    postgres.start()
    url = postgres.fresh_database()
    yield url
    postgres.start()
    postgres.drop(url)


@pytest.fixture(scope="session")
def work_databases(postgres: Postgres) -> WorkDatabases:
    """Make migrated ledgers for a role that may only work on their rows."""
    return WorkDatabases(postgres)
