"""What a long history asks for: indexes for its questions, and what each database should know of its rows.

PostgreSQL's autovacuum comes by default once a fifth of a table has changed. What waits is found by its state, and
every mail leaves an entry in each state that it passed through: with a million mails, 200,000 of them to step over
before what waits is reached. So these tables are vacuumed after a twentieth, and counted anew after a fiftieth. Their
rows are indexed by what changes in them, so free space in their pages (fillfactor) would gain nothing.

SQLite is never told to ANALYZE: without numbers it takes an index on a state for as good as one on an id, and would
read all that was deleted to find one mail; with the true numbers it would read the whole table for the few that wait.
It is given numbers under which an id, a copy or a digest comes first, then a state, then a mailbox.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_UNSEEN = "unseen_since IS NOT NULL"
_BUSY = ("mails", "deliveries", "copies", "schedule")
_OFTEN = "autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02"
_STATISTICS = (
    ("mails", "sqlite_autoindex_mails_1", "1000000 1"),
    ("mails", "sqlite_autoindex_mails_2", "1000000 20000 1"),
    ("mails", "ix_mails_on_server", "100000 2000"),
    ("mails", "ix_mails_gone", "10000 200"),
    ("mails", "ix_mails_unseen", "900000 2"),
    ("mails", "ix_mails_deleted_digest", "900000 20000 1"),
    ("mails", "ix_mails_copy", "1000000 1"),
    ("mails", "ix_mails_profile", "1000000 20000 1"),
    ("mails", "ix_mails_state_progress", "1000000 5000 1"),
    ("copies", "sqlite_autoindex_copies_1", "1000000 1"),
    ("copies", "sqlite_autoindex_copies_2", "1000000 20000 1"),
    ("deliveries", "sqlite_autoindex_deliveries_1", "1000000 1"),
    ("deliveries", "sqlite_autoindex_deliveries_2", "1000000 1 1"),
    ("deliveries", "ix_deliveries_due", "1000000 5000 1"),
    ("deliveries", "ix_deliveries_recipient", "1000000 1000 1000"),
    ("deliveries", "ix_deliveries_refused", "1000 100 1"),
    ("events", "sqlite_autoindex_events_1", "100000 5 1"),
)


def upgrade() -> None:
    """Make the indexes, and tell the database of its rows."""
    op.drop_index("ix_mails_mailbox_digest", "mails")
    op.drop_index("ix_mails_gone", "mails")
    _index("ix_mails_deleted_digest", ["mailbox", "digest"], "state = 'deleted'")
    _index("ix_mails_gone", ["mailbox"], f"{_UNSEEN} AND state != 'deleted'")
    _index("ix_mails_unseen", ["unseen_since"], _UNSEEN)
    op.create_index("ix_mails_profile", "mails", ["profile_id", "id"])
    if op.get_bind().dialect.name == "postgresql":
        for table in _BUSY:
            op.execute(f"ALTER TABLE {table} SET ({_OFTEN})")
        return
    op.execute("ANALYZE sqlite_schema")  # makes the table of numbers, and counts nothing
    op.execute("DELETE FROM sqlite_stat1")  # what somebody's ANALYZE counted
    for table, index, numbers in _STATISTICS:
        op.execute(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('{table}', '{index}', '{numbers}')")  # noqa: S608 (of constants)
    op.execute("ANALYZE sqlite_schema")  # reads them


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "mails", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
