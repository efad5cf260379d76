"""Every command with its arguments and options as Markdown, read off the tree that typer runs."""

from collections.abc import Iterator
from typing import Any

import typer.main

from manager.cli.app import build
from tests.reference.keys import line


def commands() -> str:
    """Return a section for each command, in the order of `pps --help`."""
    tree: Any = typer.main.get_command(build())
    return "\n\n".join(_sections("pps", tree))


def _sections(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401 (typer's own copy of click has no public types)
    if not hasattr(command, "commands"):
        yield _section(name, command)
        return
    for word, inner in command.commands.items():
        if not inner.hidden:
            yield from _sections(f"{name} {word}", inner)


def _section(name: str, command: Any) -> str:  # noqa: ANN401 (as above)
    shown = [one for one in command.params if not one.hidden]
    arguments = [one for one in shown if not _is_option(one)]
    options = [one for one in shown if _is_option(one)]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *(_argument(one) for one in arguments)])
    said = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    rows = [(f"`{_argument(one)}`", _help(one)) for one in arguments]
    rows += [(f"`{_option(one)}`", _help(one)) for one in options]
    table = [line(row) for row in (("", ""), ("---", "---"), *rows)] if rows else []
    return "\n".join([f"### `{name}`", "", said, "", "```", usage, "```", *(["", *table] if table else [])])


def _is_option(parameter: Any) -> bool:  # noqa: ANN401 (as above)
    return str(parameter.opts[0]).startswith("-")


def _argument(parameter: Any) -> str:  # noqa: ANN401 (as above)
    word = parameter.metavar or parameter.name.upper()
    word = word if parameter.nargs == 1 else f"{word}…"
    return word if parameter.required else f"[{word}]"


def _option(parameter: Any) -> str:  # noqa: ANN401 (as above)
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag or parameter.count else f"{names} {parameter.metavar or _kind(parameter)}"


def _kind(parameter: Any) -> str:  # noqa: ANN401 (as above)
    annotation = parameter.type_descriptor.annotation
    return str(getattr(annotation, "__name__", annotation)).upper()


def _help(parameter: Any) -> str:  # noqa: ANN401 (as above)
    said = " ".join((parameter.help or "").split())
    notes = []
    if parameter.required and _is_option(parameter):
        notes.append("must be given")
    if getattr(parameter, "multiple", False):
        notes.append("may be repeated")
    if parameter.show_default and parameter.default not in (None, False, (), []) and not callable(parameter.default):
        notes.append(f"default `{getattr(parameter.default, 'value', parameter.default)}`")
    if isinstance(parameter.envvar, str):
        notes.append(f"or `${parameter.envvar}`")
    return f"{said} ({'; '.join(notes)})" if notes else said
