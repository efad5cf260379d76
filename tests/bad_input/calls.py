"""Calls `pps` in this very process, as a user would in a folder of its own: a thousand calls in the time of ten."""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.ledger.reader import newest_schema
from manager.cli.app import run
from tests.bad_input.case import CONFIG, BadInput
from tests.command import Ended


def called(arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run `pps` with these arguments in a folder, its stdin empty, and return how it ended."""
    with _inside(folder, environment or {}), contextlib.ExitStack() as streams:
        out, err = streams.enter_context(_captured("stdout")), streams.enter_context(_captured("stderr"))
        code = run(list(arguments))
        return Ended(code=code, out=_text(out), err=_text(err))


def printed(case: BadInput, folder: Path) -> tuple[Ended, str]:
    """Set up a case in an empty folder and run it; return how it ended, and the line that it should have printed."""
    (folder / "pps.toml").write_text(CONFIG)
    case.set_up(folder)
    expected = case.prints.replace("{folder}", str(folder)).replace("{schema}", newest_schema())
    with case.around(folder):
        ended = called(case.arguments, folder, case.environment)
    return ended, f"pps: {expected}\n"


@contextmanager
def _inside(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    before, variables, stdin = Path.cwd(), dict(os.environ), sys.stdin
    for name in [name for name in os.environ if name.startswith(("PPS_", "XDG_"))]:
        del os.environ[name]
    os.environ |= {"XDG_STATE_HOME": str(folder / "state"), **environment}
    os.chdir(folder)
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    try:
        yield
    finally:
        sys.stdin = stdin
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)


@contextmanager
def _captured(name: str) -> Iterator[io.TextIOWrapper]:
    """Have what is printed in a file, which unlike a buffer has a descriptor."""
    with tempfile.TemporaryFile() as file:
        stream = io.TextIOWrapper(file, errors="replace", write_through=True)
        before = getattr(sys, name)
        setattr(sys, name, stream)
        try:
            yield stream
        finally:
            setattr(sys, name, before)
            stream.detach()


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()
