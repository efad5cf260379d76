"""The tree of commands, and how one ends: exit 0, 1 (did not work) or 2 (wrong use or config), errors in one line.

A command is imported when it is wanted, and imports what it needs when it runs: `pps status`, help and completion are
quick by that.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.exceptions import TyperException

from common import __version__
from common.failures import PpsError
from common.unforeseen import keep_traceback

FAILED: Final = 1
MISUSED: Final = 2

_INTERRUPTED: Final = 130
"""What typer makes of Ctrl-C."""

_PLACES: Final = {
    "init": "setup.init",
    "run": "service.run",
    "reload": "service.reload",
    "fetcher": "service.fetcher",
    "router": "service.router",
    "deliverer": "service.deliverer",
    "pull": "pull.pull",
    "explain": "explain.explain",
    "status": "status.status",
    "log": "log.log",
    "doctor": "doctor.doctor",
    "verify": "verify.verify",
    "migrate": "setup.migrate",
    "import": "importing.import_",
    "broker": "broker.broker",
    "ledger": "ledger.ledger",
    "mails": "mails.mails",
    "oauth": "oauth.oauth",
    "queues": "queues.queues",
    "profile": "profile.build",
    "retry": "quarantine.retry_deferred",
    "quarantine": "quarantine.build",
}
"""Where each command stands, or the group of that name, or what builds it, in this folder: in the help's order."""


def build(only: str | None = None) -> typer.Typer:
    """Return the tree of commands, or of one, for which the others need not be imported."""
    app = typer.Typer(
        name="pps",
        help="Pull mail over POP3 and hand it to local users, without ever losing one.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for name in _PLACES if only is None else (only,):
        found = _at(_PLACES[name])
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _at(place: str) -> Any:  # noqa: ANN401 (a group, or a function with whatever options)
    module, _, name = place.partition(".")
    found = getattr(import_module(f"manager.cli.{module}"), name)
    return found() if name == "build" else found


def _wanted(arguments: Sequence[str]) -> str | None:
    """Return the command that these begin with; None where the whole tree is asked for, as by a shell's completion."""
    first = arguments[0] if arguments else ""
    return first if first in _PLACES and "_PPS_COMPLETE" not in os.environ else None


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every failure becomes one line on stderr."""
    try:
        code = build(_wanted(arguments))(args=list(arguments), prog_name="pps", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _without_reader()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (no user ever sees a traceback, and none is lost)
        text, code = _told(error)
        return _complain(text, code)
    if code == _INTERRUPTED:
        return _complain("interrupted", FAILED)
    return code if isinstance(code, int) else 0


def _told(error: BaseException) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    match error:
        case PpsError():
            return str(error), error.exit_code
        case TyperException():
            return _misuse(error), error.exit_code
        case KeyboardInterrupt() | typer.Abort():
            return "interrupted", FAILED
        case ImportError():
            return f"can't start: {error}: install PPS again, with all that it needs", FAILED
        case OSError(strerror=str() as said):
            return (f"{error.filename}: {said}" if isinstance(error.filename, str) else said), FAILED
        case _:
            return keep_traceback(error), FAILED


def _root(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"pps {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(MISUSED)


def _misuse(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path.partition(" ")[2] if context is not None else ""
    said = error.format_message().rstrip(".")
    return f"{command}: {said}: see pps {command} --help" if command else f"{said}: see pps --help"


def _complain(text: str, code: int) -> int:
    from common.messages import one_line

    sys.stderr.write(f"pps: {one_line(text, 1000)}\n")
    return code


def _without_reader() -> int:
    """The reader of our output left, as `pps log | head` does: nothing may be flushed into the void at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
