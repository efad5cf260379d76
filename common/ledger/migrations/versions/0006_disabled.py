"""Disabled profiles are due no more: many of them stood before what is polled in the index that claims read."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Take their times away; enabling a profile makes it due."""
    op.execute("UPDATE schedule SET due_at = NULL WHERE profile_id IN (SELECT id FROM profiles WHERE NOT enabled)")
