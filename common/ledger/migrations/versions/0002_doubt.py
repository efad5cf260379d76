"""What a target whose user table may be broken needs: since when it refuses whom, and until when it is doubted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the index that the guard counts by."""
    op.add_column("deliveries", sa.Column("refused_at", sa.BigInteger(), nullable=True))
    said = sa.text("refused_at IS NOT NULL")
    op.create_index(
        "ix_deliveries_refused", "deliveries", ["target", "refused_at"], sqlite_where=said, postgresql_where=said
    )
    op.add_column("targets", sa.Column("held_until", sa.BigInteger(), nullable=True))
    op.add_column("targets", sa.Column("doubted_since", sa.BigInteger(), nullable=True))
    op.add_column("targets", sa.Column("doubted_until", sa.BigInteger(), nullable=True))
    op.add_column("targets", sa.Column("doubt", sa.String(length=512), nullable=True))
