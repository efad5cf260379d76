"""Tables and lines on a terminal or in a pipe. Nothing from outside reaches a terminal as anything but text."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import typer

from common.messages import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

GAP: Final = 2
"""Blanks between columns in a pipe."""

NARROW: Final = 112
"""Columns of a terminal below which tables leave out what matters least."""

MAX_CELL: Final = 1000
"""Characters of a cell or line: longer than any reply that the ledger keeps."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; on a terminal in a style of rich's, and wrapped."""

    text: str
    style: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """A table. On a terminal the column `whole` is never folded: what a person copies from it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    whole: int = 0


Block = Line | Rows


def print_blocks(blocks: Iterable[Block]) -> None:
    """Print lines and tables, one after the other; in a pipe nothing is cut or wrapped."""
    if sys.stdout.isatty():
        console().print(rendered(blocks))
        return
    for block in blocks:
        lines = plain_lines(block.headings, block.rows) if isinstance(block, Rows) else [tidy(block.text)]
        typer.echo("\n".join(lines))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings."""
    print_blocks([Rows(headings, rows)])


def tidy(text: str) -> str:
    """Return text from outside as one printable line: an escape sequence in it reaches no terminal."""
    return one_line(text, MAX_CELL)


def plain_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of padded columns, without blanks at their ends."""
    cells = [[tidy(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) + GAP for column in range(len(headings))]
    return ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def rendered(blocks: Iterable[Block]) -> "RenderableType":
    """Return lines and tables for a terminal."""
    from rich.console import Group
    from rich.text import Text

    return Group(
        *(
            table_of(block) if isinstance(block, Rows) else Text(tidy(block.text), style=block.style or "")
            for block in blocks
        )
    )


def table_of(block: Rows) -> "Table":
    """Return a table for a terminal."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(block.headings):
        table.add_column(heading, overflow="fold", no_wrap=number == block.whole)
    for row in block.rows:
        table.add_row(*(tidy(cell) for cell in row))
    return table


def is_narrow() -> bool:
    """Whether this is a terminal on which a wide table would have to be folded."""
    return sys.stdout.isatty() and shutil.get_terminal_size().columns < NARROW


def console(*, stderr: bool = False) -> "Console":
    """Return a console in which nothing is markup."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, stderr=stderr)
