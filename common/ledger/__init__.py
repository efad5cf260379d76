"""The ledger: the truth about every mail and delivery, in SQLite or PostgreSQL."""

from common.ledger.ledger import LeaseLostError, Ledger, migrate_database
from common.ledger.writer import RowRejectedError

__all__ = ["LeaseLostError", "Ledger", "RowRejectedError", "migrate_database"]
