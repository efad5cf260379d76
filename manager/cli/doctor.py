"""`pps doctor`: looks at everything that mail depends on, and says what to mend."""

import asyncio
import dataclasses
import json

import typer

from common.counted import counted
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption


def doctor(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> int:
    """Check all that mail depends on.

    Files, servers, targets and mailboxes; exit 0 if there is no problem.
    """
    from manager.cli.tables import print_table
    from manager.doctor.check import Grade
    from manager.doctor.examine import examine

    found = asyncio.run(examine(config))
    counts = {grade: sum(check.grade is grade for check in found) for grade in Grade}
    if as_json:
        typer.echo(json.dumps({"checks": [dataclasses.asdict(check) for check in found], **counts}))
    else:
        print_table(["", "check", "found"], [[check.grade, check.area, check.says] for check in found])
        bad = f"{counted(counts[Grade.PROBLEM], 'problem')}, {counted(counts[Grade.WARNING], 'warning')}"
        typer.echo(f"{bad}, {counts[Grade.OK]} well")
    return 1 if counts[Grade.PROBLEM] else 0
