"""The headers of mails that are still on a server, read with TOP: nothing is retrieved, marked or deleted."""

import asyncio
from dataclasses import dataclass
from typing import Final

from common.config import Config
from common.failures import PollError, PollResult, PpsError
from common.messages import MAX_HEADER
from common.profile import Profile
from common.secrets import STORED, Secret
from fetcher.connection import Connection
from manager.profiles import known_profiles, named
from manager.sign_in import secret_of, signed_in

SECONDS: Final = 120.0
"""For the whole look; each step has a deadline of its own."""

AT_A_TIME: Final = 50
"""Headers asked for together, so that the look can end between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteHeader:
    """The header of one mail on the server."""

    number: int  # in this session
    uidl: bytes | None
    header: bytes  # at most MAX_HEADER
    cut: bool


async def remote_headers(config: Config, profile: Profile, *, limit: int) -> list[RemoteHeader]:
    """Return the headers of the newest `limit` mails, oldest first; raises PpsError, one line with the mend."""
    try:
        async with asyncio.timeout(SECONDS):
            secret = await _secret(config, profile)
            async with signed_in(config, profile, secret) as connection:
                return await newest_headers(connection, limit)
    except TimeoutError as error:
        raise PollError(PollResult.NETWORK, f"{profile.server}: no answer within {SECONDS:.0f} s") from error


async def _secret(config: Config, profile: Profile) -> Secret:
    known = named(await known_profiles(config), profile.name, config) if profile.password == STORED else None
    try:
        return await secret_of(config, profile, known)
    except PollError:
        raise
    except PpsError as error:
        raise PpsError(f"{profile.name}: {error}") from error


async def newest_headers(connection: Connection, limit: int) -> list[RemoteHeader]:
    """Return the headers of the newest `limit` mails of a session, oldest first; raises PpsError."""
    listed = (await connection.listing())[-limit:]
    if listed and not connection.capabilities.top:
        raise PpsError(f"{connection.server}: it offers no TOP, so headers can't be read alone: explain files instead")
    found = []
    for begin in range(0, len(listed), AT_A_TIME):
        part = listed[begin : begin + AT_A_TIME]
        headers = await connection.tops([one.number for one in part])
        for one in part:
            header = headers.get(one.number)
            if header is not None:
                cut = len(header) > MAX_HEADER
                found.append(RemoteHeader(number=one.number, uidl=one.uidl, header=header[:MAX_HEADER], cut=cut))
    return found
