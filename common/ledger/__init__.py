"""The ledger: the truth about every mail and delivery, in SQLite or PostgreSQL.

What is named here is imported when it is used: commands that only read must not wait for SQLAlchemy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.ledger.engine import migrate_database
    from common.ledger.ledger import LeaseLostError, Ledger
    from common.ledger.writer import RowRejectedError

__all__ = ["LeaseLostError", "Ledger", "RowRejectedError", "migrate_database"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever bears the name)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from common.ledger import engine, ledger, writer  # noqa: PLC0415 (see above)

    return getattr({"RowRejectedError": writer, "migrate_database": engine}.get(name, ledger), name)
