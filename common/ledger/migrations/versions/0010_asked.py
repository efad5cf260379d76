"""Which mails were asked for, of servers that hide what they have given: their bytes are looked for if they vanish."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("mails", sa.Column("asked_at", sa.BigInteger(), nullable=True))
