"""Checks of the targets: each would take mail now. Nothing is sent."""

import asyncio
import os
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.config import Config
from common.failures import PpsError
from common.messages import one_line
from common.target_settings import TargetSettings
from common.target_url import Transport, parse_target
from deliverer.account import account_of
from deliverer.maildir_path import base_of
from deliverer.make import make_target
from deliverer.target import TargetOptions
from manager.doctor.check import Check, ok, problem

SECONDS: Final = 60.0
"""How long one target may take; each step has its own, shorter deadline."""


async def target_check(name: str, settings: TargetSettings, config: Config, log: FilteringBoundLogger) -> Check:
    """Connect, greet, encrypt and sign in as a deliverer would; of a Maildir, look at its folder."""
    area = f"target {name}"
    try:
        options = TargetOptions(
            url=settings.url,
            tls=settings.tls,
            ca=settings.ca,
            account=await account_of(name, settings, config.base),
            client_cert=settings.client_cert,
            client_key=settings.client_key,
        )
        target = make_target(name, options, installation="doctor", log=log)
    except PpsError as error:
        return problem(area, str(error))
    try:
        async with asyncio.timeout(SECONDS):
            trouble = await target.probe()
    except TimeoutError:
        return problem(area, f"{settings.url}: no answer within {SECONDS:.0f} s: check url and firewall")
    finally:
        await target.close()
    if trouble is not None:
        return problem(area, one_line(trouble.reply))
    return _maildir_check(area, settings.url) or ok(area, f"{settings.url} would take mail now")


def _maildir_check(area: str, text: str) -> Check | None:
    """Return what keeps this user from making mails there; the folders of single users show at their first mail."""
    url = parse_target(text)
    if url.transport is not Transport.MAILDIR:
        return None
    base = Path(base_of(url.path))
    there = next(folder for folder in (base, *base.parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return problem(area, f"{text}: this user may not write {there}: chown it, or run as the user whose mail it is")
    return None
