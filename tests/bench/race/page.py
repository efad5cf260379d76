"""Writes docs/performance.md from what `make bench` measured and from notes.md: `make performance`."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.race.table import MET, against, cost, figure, spread, values

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "performance.md"
MEASURED: Final = ROOT / "build" / "bench.json"
NOTES: Final = Path(__file__).with_name("notes.md")

_HEAD: Final = """# Performance

What `make bench` measured: PPS and other programs that fetch mail over POP3, each in turn on the same mailboxes, in
one run. Written by `make performance`; only the notes are written by hand. Absolute figures are those of one machine at
one time, and so are ratios to programs in C: Python's speed beside the kernel's differs from machine to machine.
"""


def page(document: Mapping[str, Any], notes: str) -> str:
    """Return the page."""
    parts = [_HEAD, _machine(document), *(_workload(one, _note(notes, one["key"])) for one in document["workloads"])]
    general = _note(notes, "all")
    return "\n".join([*parts, *(["## What was learnt", "", general, ""] if general else [])]).rstrip() + "\n"


def _machine(document: Mapping[str, Any]) -> str:
    machine, rounds = document["machine"], document["rounds"]
    part = (
        ""
        if document["part"] == 1
        else f" A trial, with {document['part']:g} of the mails that the titles tell: no aim is judged."
    )
    return (
        f"{machine['date']}, {machine['cpus']} cores, {machine['system']}, Python {machine['python']}; load at the "
        f"start {machine['load']}; {rounds} rounds, in rotating order. A program that had used up 15 s of a "
        f"workload was not run again. No ratio stands where either side lost, doubled or left a mail.{part}\n"
    )


def _workload(outcome: Mapping[str, Any], note: str) -> str:
    rows = [
        (row["name"], figure(row), against(row), spread(row), cost(row) + _faults(row)) for row in outcome["programs"]
    ]
    lines = [
        f"## ({outcome['key']}) {outcome['title']}",
        "",
        *_table(("program", "median", "ratio", "spread", "of the machine, a round"), rows),
        *(f"- not installed: {name}" for name in outcome["missing"]),
        *(f"- {name}: {value:.3g}" for kind in ("own", "aside") for name, value in outcome[kind].items()),
        "",
        *_table(("aim", "found", ""), [(aim["text"], values(aim), MET[aim["met"]]) for aim in outcome["aims"]]),
    ]
    return "\n".join([*lines, *([note, ""] if note else [])])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, tuple("---" for _ in head), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def _faults(row: Mapping[str, Any]) -> str:
    return "".join(f"; {' '.join(fault.split())[:160]}" for fault in row["faults"][:1])


def _note(notes: str, key: str) -> str:
    """Return what stands under a heading."""
    _, _, rest = f"\n{notes}".partition(f"\n## {key}\n")
    return rest.partition("\n## ")[0].strip()


def main() -> int:
    """Write the page, or say what is missing."""
    if not MEASURED.exists():
        sys.stderr.write(f"there is no {MEASURED.relative_to(ROOT)} yet: make bench\n")
        return 1
    PAGE.write_text(page(json.loads(MEASURED.read_text()), NOTES.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
