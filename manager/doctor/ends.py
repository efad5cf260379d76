"""Checks of both ends: each target would take mail now, each profile's server lets us in. No mail is fetched."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.config import Config
from common.failures import PollError, PollResult, PpsError
from common.messages import one_line
from common.profile import Profile
from common.secrets import STORED, resolve
from common.target_settings import TargetSettings
from common.target_url import Transport, parse_target
from deliverer.account import account_of
from deliverer.maildir_path import base_of
from deliverer.make import make_target
from deliverer.target import TargetOptions
from fetcher.connection import Connection
from fetcher.link import link_of
from manager.doctor.check import Check, Grade, ok, problem, warning
from manager.doctor.envelope import envelope_checks

SESSIONS: Final = 8
"""Mailboxes that are signed in to at a time: no more than one host is asked to bear by a fetcher."""

SECONDS: Final = 60.0
"""How long one server may take; each step has its own, shorter deadline."""

_BUSY: Final = frozenset({PollResult.IN_USE, PollResult.THROTTLED})


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


async def profile_checks(profiles: Iterable[Profile], config: Config) -> list[Check]:
    """Sign in to each enabled mailbox, a few at a time."""
    places = asyncio.Semaphore(SESSIONS)

    async def checked(profile: Profile) -> list[Check]:
        async with places:
            check = await profile_check(profile, config)
            more = await envelope_checks(profile, config) if check.grade is Grade.OK else []
            return [check, *more]

    found = await asyncio.gather(*(checked(profile) for profile in profiles if profile.enabled))
    return [check for checks in found for check in checks]


async def profile_check(profile: Profile, config: Config) -> Check:
    """Resolve the password, connect, encrypt and sign in; the session ends without a look at any mail.

    Tokens and typed passwords are `pps profile test`'s: it opens what is sealed in the ledger.
    """
    area = f"profile {profile.name}"
    known = profile.password is not None and profile.password != STORED
    try:
        secret = await resolve(profile.password, base=config.base) if profile.password and known else None
    except PpsError as error:
        return problem(area, f"password: {error}")
    try:
        async with asyncio.timeout(SECONDS):
            connection = await Connection.open(await link_of(profile, base=config.base))
            try:
                if secret is not None:
                    await connection.authenticate(profile.user, secret.reveal(), profile.auth)
                await connection.quit()
            finally:
                connection.abort()
    except PollError as error:
        return (warning if error.result in _BUSY else problem)(area, str(error))
    except PpsError as error:
        return problem(area, str(error))
    except TimeoutError:
        return problem(area, f"{profile.server}: no answer within {SECONDS:.0f} s: check server and firewall")
    if secret is None:
        return ok(area, f"{profile.server} answers; whether it lets {profile.user} in: pps profile test {profile.name}")
    return ok(area, f"{profile.server} lets {profile.user} in")
