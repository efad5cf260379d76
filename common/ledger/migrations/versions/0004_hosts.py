"""What is remembered of a host, why a profile is held, and which host a profile's sessions count for."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LEASED = sa.text("lease_until IS NOT NULL")
_REFUSED = sa.text("last_result = 'auth'")


def upgrade() -> None:
    """Add the table and the columns, and fill in the host of each profile."""
    op.create_table(
        "hosts",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("window", sa.Integer(), nullable=True),
        sa.Column("window_until", sa.BigInteger(), nullable=True),
        sa.Column("no_capa_until", sa.BigInteger(), nullable=True),
        sa.Column("paused_until", sa.BigInteger(), nullable=True),
        sa.Column("paused_since", sa.BigInteger(), nullable=True),
        sa.Column("pauses", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=512), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    with op.batch_alter_table("schedule") as batch:
        batch.add_column(sa.Column("host", sa.String(length=255), nullable=False, server_default=""))
        batch.add_column(sa.Column("held", sa.String(length=512), nullable=True))
        batch.add_column(sa.Column("held_at", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("not_before", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("hides", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_profiles_mailbox", "profiles", ["mailbox"])
    op.create_index("ix_schedule_leased", "schedule", ["host"], sqlite_where=_LEASED, postgresql_where=_LEASED)
    op.create_index(
        "ix_schedule_refused",
        "schedule",
        ["host", "last_finished_at"],
        sqlite_where=_REFUSED,
        postgresql_where=_REFUSED,
    )
    _fill_in()


def _fill_in() -> None:
    connection = op.get_bind()
    known = sa.table("profiles", sa.column("id"), sa.column("settings"))
    schedule = sa.table("schedule", sa.column("profile_id"), sa.column("host"))
    for row in connection.execute(sa.select(known)).all():
        host, _, port = json.loads(row.settings)["server"].rstrip("s").rpartition(" ")
        loopback = host in {"localhost", "::1"} or host.startswith("127.")
        place = f"{host}:{port}" if loopback else host
        connection.execute(schedule.update().where(schedule.c.profile_id == row.id).values(host=place))
