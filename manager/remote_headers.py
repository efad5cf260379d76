"""The headers of mails that are still on a server, read with TOP: nothing is retrieved, marked or deleted."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.failures import PollError, PollResult, PpsError
from common.messages import MAX_HEADER
from common.profile import Profile
from common.secrets import resolve
from fetcher.connection import Connection
from fetcher.link import link_of

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


async def remote_headers(profile: Profile, *, base: Path, limit: int) -> list[RemoteHeader]:
    """Return the headers of the newest `limit` mails, oldest first; raises PpsError, one line with the mend."""
    if profile.password is None:
        raise PpsError(
            f"{profile.name}: it signs in with access tokens, which only fetchers hold: explain files instead"
        )
    try:
        password = (await resolve(profile.password or "", base=base)).reveal()
    except PpsError as error:
        raise PpsError(f"{profile.name}: password: {error}") from error
    try:
        async with asyncio.timeout(SECONDS):
            connection = await Connection.open(await link_of(profile, base=base))
            try:
                await connection.authenticate(profile.user, password, profile.auth)
                found = await _headers(connection, limit)
                await connection.quit()  # nothing was marked deleted
            finally:
                connection.abort()
    except TimeoutError as error:
        raise PollError(PollResult.NETWORK, f"{profile.server}: no answer within {SECONDS:.0f} s") from error
    return found


async def _headers(connection: Connection, limit: int) -> list[RemoteHeader]:
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
