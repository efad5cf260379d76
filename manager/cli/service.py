"""Commands that work until they are stopped: `pps run` and one for each role."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from manager.cli.options import DEFAULT_CONFIG, ConfigOption

if TYPE_CHECKING:
    from common.config import Config

ROLES: Final = ("fetcher", "router", "deliverer")


def run(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Run every role in one process."""
    from common.config import load_config
    from manager.service import run_service

    checked = load_config(config)
    return asyncio.run(run_service(checked, roles=set(ROLES), began=lambda: _tell(checked)))


def _tell(config: "Config") -> None:
    """Say to a person, who would see nothing more, where to look."""
    if sys.stderr.isatty() and config.service.log != "-":
        typer.echo("working, until Ctrl-C: `pps status` shows whether mail flows, `pps log -f` what happens", err=True)


def reload(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Have the running service read its configuration again."""
    from common.config import load_config
    from manager.reload import reload_service

    reload_service(load_config(config))
    typer.echo("the configuration is in force")
    return 0


def fetcher(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Run a fetcher: poll mailboxes, delete what was delivered."""
    return _run_alone("fetcher", config)


def router(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Run a router: decide who gets each mail."""
    return _run_alone("router", config)


def deliverer(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Run a deliverer: hand mail to the targets."""
    return _run_alone("deliverer", config)


def _run_alone(role: str, path: Path) -> int:
    from common.config import load_config, require_shared

    config = load_config(path)
    require_shared(config, role)
    from manager.service import run_service

    return asyncio.run(run_service(config, roles={role}))
