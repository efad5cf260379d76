"""A ledger's database as deploy/postgresql/roles.sql sets it up: one role that owns its tables, one that works."""

from pathlib import Path
from typing import Final

from common.ledger import migrate_database
from tests.servers.postgres import PASSWORD, ROLE, Postgres

SCRIPT: Final = Path(__file__).parents[2] / "deploy" / "postgresql" / "roles.sql"
OWNER: Final = "pps_owner"


def owned_by_another(server: Postgres) -> str:
    """Make an empty database in which the role may only work, and return its URL; `as_owner` may migrate it."""
    url = server.fresh_database(owner="postgres")
    server.run_file(SCRIPT, database=name_of(url))
    server.query(f"ALTER ROLE {OWNER} PASSWORD '{PASSWORD}'")
    return url


def as_owner(url: str) -> str:
    """Return a database's URL for the role that migrates."""
    return url.replace(f"//{ROLE}:", f"//{OWNER}:")


def name_of(url: str) -> str:
    """Return the database that a URL names."""
    return url.rpartition("/")[2]


class WorkDatabases:
    """Migrated ledgers for the role that works: the first is migrated, the others are made from it."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._template: str | None = None

    async def fresh(self) -> str:
        """Return the URL of a ledger of this version without any row."""
        self._server.start()
        if self._template is None:
            url = owned_by_another(self._server)
            await migrate_database(as_owner(url), base=Path())
            self._template = name_of(url)
        return self._server.fresh_database(owner="postgres", template=self._template)

    def drop(self, url: str) -> None:
        """Remove one, with whatever is still connected."""
        self._server.start()
        self._server.drop(url)
