"""Has the running service read its configuration again, and waits for what it says to that."""

import os
import signal
import time
from typing import Final

from common.config import Config
from common.failures import PpsError, UsageError
from common.lock import Holder, holder_of, is_single, lock_path

ANSWER_SECONDS: Final = 60.0
"""How long a service may take: references of targets are resolved, and a busy ledger is waited for."""

LOOK_SECONDS: Final = 0.05


def reload_service(config: Config) -> None:
    """Return once the service has the configuration in force; raises PpsError, in the service's words if it refuses."""
    if not is_single(config):
        raise UsageError(
            "reload: with PostgreSQL and RabbitMQ there are many processes: send each of them SIGHUP (systemctl reload)"
        )
    before = _running(config)
    try:
        os.kill(before.pid, signal.SIGHUP)
    except OSError as error:
        raise PpsError(
            f"reload: can't signal process {before.pid}: {error.strerror}: run this as its user, or as root"
        ) from error
    answer = _answer(config, before)
    if answer:
        raise PpsError(f"reload: {answer}")


def is_behind(config: Config) -> bool:
    """Whether the service that works here read the file before it was changed, or refused it; others are not known."""
    holder = holder_of(config) if is_single(config) else None
    if holder is None or not holder.reloads:
        return False
    return bool(holder.answer) or lock_path(config).stat().st_mtime < config.path.stat().st_mtime


def _running(config: Config) -> Holder:
    holder = holder_of(config)
    if holder is None:
        raise PpsError(
            f"reload: no service runs (nobody holds {lock_path(config)}): `pps run` starts one; "
            "one that began before `ledger` was changed has to be stopped and started"
        )
    if not holder.reloads:
        raise PpsError("reload: the process that works here is a `pps pull`, or has only just started: try again")
    return holder


def _answer(config: Config, before: Holder) -> str:
    until = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < until:
        now = holder_of(config)
        if now is None or now.pid != before.pid:
            raise PpsError("reload: the service has ended: see its log")
        if now.answered > before.begun:  # one that was begun before we asked may have read an older file
            return now.answer
        time.sleep(LOOK_SECONDS)
    raise PpsError(f"reload: no answer within {ANSWER_SECONDS:.0f} s: see the log of process {before.pid}")
