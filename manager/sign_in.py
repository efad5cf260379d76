"""Signing in to a profile's mailbox as a fetcher would, for commands that only look; who is given a session looks.

Passwords come from where they lie, typed ones from the ledger, access tokens by way of its grants.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.config import Config
from common.failures import PpsError
from common.log import open_log
from common.profile import Profile
from common.secrets import STORED, Secret, resolve
from fetcher.connection import Connection
from fetcher.grants import GrantEndedError, grants_of
from fetcher.link import link_of
from fetcher.streams import Limits
from manager.profile_changes import opened_ledger, passwords
from manager.profiles import Known, has_ledger


async def secret_of(config: Config, profile: Profile, known: Known | None) -> Secret:
    """Return the password or, where there is none, an access token; raises PpsError that names the mend."""
    if profile.password not in {None, STORED}:
        try:
            return await resolve(profile.password or "", base=config.base)
        except PpsError as error:
            raise PpsError(f"password: {error}") from error
    if not has_ledger(config):  # and none is made by looking
        if profile.password is None:
            raise GrantEndedError(profile, "nobody has signed in yet")
        raise PpsError(f"password: none is stored: `pps profile password {profile.name}` asks for it")
    async with opened_ledger(config) as ledger:
        if profile.password is None:
            return await grants_of(config, ledger, open_log("-", config.base, level="error")).access_token(profile)
        profile_id = "" if known is None or known.stored is None else known.stored.profile_id
        return await passwords(config, ledger).of(profile_id, profile)


@asynccontextmanager
async def signed_in(
    config: Config, profile: Profile, secret: Secret, *, limits: Limits | None = None
) -> AsyncIterator[Connection]:
    """Connect, encrypt and sign in; end with QUIT, so that the server frees the mailbox. Raises PpsError."""
    connection = await Connection.open(await link_of(profile, base=config.base), limits=limits)
    try:
        await connection.authenticate(profile.user, secret.reveal(), profile.auth, bearer=profile.password is None)
        yield connection
        await connection.quit()
    finally:
        connection.abort()
