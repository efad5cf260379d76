"""Tables on a terminal or in a pipe: plain columns, in which nothing from outside is markup."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from common.messages import one_line


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings; in a pipe no cell is cut or wrapped."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 10_000
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(one_line(cell) for cell in row))
    console.print(table)
