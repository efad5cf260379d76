"""The tree of commands, and how one ends: exit 0, 1 (did not work) or 2 (wrong use or config), errors in one line.

Commands import what they need when they run, so that `pps --help` and a shell's completion stay quick.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from common import __version__
from common.failures import PpsError
from common.unforeseen import keep_traceback
from manager.cli import (
    broker,
    doctor,
    explain,
    importing,
    ledger,
    log,
    mails,
    oauth,
    profile,
    pull,
    quarantine,
    queues,
    service,
    setup,
    status,
    verify,
)

FAILED: Final = 1
MISUSED: Final = 2

_INTERRUPTED: Final = 130
"""What typer makes of Ctrl-C."""

_COMMANDS: Final = (
    setup.init,
    service.run,
    service.reload,
    service.fetcher,
    service.router,
    service.deliverer,
    pull.pull,
    explain.explain,
    status.status,
    log.log,
    doctor.doctor,
    verify.verify,
    setup.migrate,
)

_GROUPS: Final = {
    "broker": broker.broker,
    "ledger": ledger.ledger,
    "mails": mails.mails,
    "oauth": oauth.oauth,
    "queues": queues.queues,
}


def build() -> typer.Typer:
    """Return the tree of commands."""
    app = typer.Typer(
        name="pps",
        help="Pull mail over POP3 and hand it to local users, without ever losing one.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for command in _COMMANDS:
        app.command()(command)
    app.command("import")(importing.import_)
    for name, group in _GROUPS.items():
        app.add_typer(group, name=name)
    app.add_typer(profile.build())
    app.command("retry")(quarantine.retry_deferred)
    app.add_typer(quarantine.build())
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every failure becomes one line on stderr."""
    try:
        code = build()(args=list(arguments), prog_name="pps", standalone_mode=False)
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
