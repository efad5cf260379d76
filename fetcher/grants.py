"""Access tokens when they are needed: got ahead of expiry, by one worker at a time, and stored sealed.

A provider may answer with a new refresh token and forget the old one. Both tokens are one sealed value, so what crashes
between the answer and the commit costs, at worst, one `pps oauth login`; the profile then says so.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.config import Config
from common.failures import PollError, PollResult, PpsError
from common.ledger import Ledger
from common.ledger.grants import Grant, GrantClaim, GrantEnd, StoredGrant
from common.passwords import Passwords
from common.profile import Profile
from common.secrets import Secret, resolve, seal, unseal
from fetcher.oauth_answers import Refusal, Tokens
from fetcher.oauth_client import OAuthClient

AHEAD_SECONDS: Final = 300.0
"""How long before its end an access token is replaced, or half its life before if that is shorter."""

WARN_SECONDS: Final = 7 * 86_400.0
"""How long before a grant runs out a person is told."""

LOOK_SECONDS: Final = 0.25
WAIT_SECONDS: Final = 40.0
"""How long another worker's refresh is waited for, where the old token is past its end."""

GRACE_SECONDS: Final = 5.0
"""How long a refresh goes on whose poll is broken off: what it brings may be the only token left."""

_FOR_GOOD: Final = frozenset({"invalid_grant", "interaction_required", "consent_required", "login_required"})
"""Refusals that no waiting mends: a person must sign in."""


class GrantEndedError(PollError):
    """Only a person can mend it, by `pps oauth login`: the profile stops."""

    def __init__(self, profile: Profile, why: str) -> None:
        super().__init__(PollResult.GRANT, f"{profile.server}: {why}: pps oauth login {profile.name}")
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """The grants of a ledger."""

    ledger: Ledger
    keys: Callable[[], Awaitable[Secret]]  # that they are sealed with, the newest first
    base: Path  # where relative paths of references begin
    log: FilteringBoundLogger

    async def access_token(self, profile: Profile) -> Secret:
        """Return a token that is good for a while; raises PollError, GrantEndedError, PpsError."""
        grant = await self._grant(profile)
        if grant.fresh_for > 0:
            return (await self._opened(grant)).access
        claim = await self.ledger.claim_grant(profile.mailbox)
        if claim is None:
            return await self._of_another(profile, grant)
        if claim.grant.fresh_for > 0:  # another got it since we looked
            await self.ledger.end_grant(GrantEnd(mailbox=claim.mailbox, epoch=claim.epoch))
            return (await self._opened(claim.grant)).access
        refreshing = asyncio.create_task(self._claimed(profile, claim))
        try:
            return await asyncio.shield(refreshing)
        except asyncio.CancelledError:
            await asyncio.wait({refreshing}, timeout=GRACE_SECONDS)
            refreshing.cancel()
            await asyncio.gather(refreshing, return_exceptions=True)
            raise

    async def _claimed(self, profile: Profile, claim: GrantClaim) -> Secret:
        try:
            return await self._refreshed(profile, claim)
        except BaseException as error:
            refused = error.why if isinstance(error, GrantEndedError) else None
            await self.ledger.end_grant(GrantEnd(mailbox=claim.mailbox, epoch=claim.epoch, refused=refused))
            if isinstance(error, PollError) and error.result is PollResult.NETWORK and claim.grant.expires_in > 0:
                self.log.warning("token_not_refreshed", profile=profile.name, error=str(error))
                return (await self._opened(claim.grant)).access  # the old one serves while the endpoint is away
            raise

    async def distrust(self, profile: Profile) -> None:
        """Have the next poll get another access token: the server refused this one before its time."""
        await self.ledger.distrust_grant(profile.mailbox)

    async def keep(self, profile: Profile, tokens: Tokens) -> None:
        """Store what a person's login brought; raises PpsError if there is nothing to get the next token with."""
        if tokens.refresh is None:
            raise PpsError(
                f"{profile.name}: the provider gave no refresh token: with oauth_scope, ask for one (offline_access)"
            )
        await self.ledger.store_grant(await self._stored(profile, None, tokens))

    # Getting the next one

    async def _grant(self, profile: Profile) -> Grant:
        grant = await self.ledger.grant_of(profile.mailbox)
        if grant is None:
            raise GrantEndedError(profile, "nobody has signed in yet")
        if grant.refused is not None:
            raise GrantEndedError(profile, grant.refused)
        return grant

    async def _refreshed(self, profile: Profile, claim: GrantClaim) -> Secret:
        held = await self._opened(claim.grant)
        answer = await (await client_of(profile, base=self.base)).refresh(held.refresh or Secret(""))
        if isinstance(answer, Refusal):
            raise _refused(profile, answer)
        tokens = replace(
            answer,
            refresh=answer.refresh or held.refresh,
            grant_expires_in=answer.grant_expires_in or _remaining(claim.grant, rotated=answer.refresh is not None),
        )
        if not await self.ledger.store_grant(await self._stored(profile, claim.epoch, tokens)):
            return (await self._opened(await self._grant(profile))).access  # a person signed in meanwhile
        self.log.info("token_refreshed", profile=profile.name, expires_in=tokens.expires_in)
        if tokens.grant_expires_in is not None and tokens.grant_expires_in < WARN_SECONDS:
            self.log.warning("grant_ends_soon", profile=profile.name, seconds=tokens.grant_expires_in)
        return tokens.access

    async def _of_another(self, profile: Profile, grant: Grant) -> Secret:
        """Use the old token while another worker gets the next; where it is past its end, wait for that."""
        clock = asyncio.get_running_loop().time
        until = clock() + WAIT_SECONDS
        while grant.expires_in <= 0:
            if clock() > until:
                raise PollError(PollResult.NETWORK, f"{profile.server}: another worker takes long to get a token")
            await asyncio.sleep(LOOK_SECONDS)
            grant = await self._grant(profile)
        return (await self._opened(grant)).access

    # Sealing

    async def _stored(self, profile: Profile, epoch: int | None, tokens: Tokens) -> StoredGrant:
        refresh = "" if tokens.refresh is None else tokens.refresh.reveal()
        text = Secret(json.dumps({"access": tokens.access.reveal(), "refresh": refresh}))
        return StoredGrant(
            mailbox=profile.mailbox,
            epoch=epoch,
            sealed=seal(text, await self.keys()),
            fresh_for=tokens.expires_in - min(AHEAD_SECONDS, tokens.expires_in / 2),
            expires_in=tokens.expires_in,
            grant_expires_in=tokens.grant_expires_in,
        )

    async def _opened(self, grant: Grant) -> Tokens:
        held = json.loads(unseal(grant.sealed, await self.keys()).reveal())
        return Tokens(access=Secret(held["access"]), refresh=Secret(held["refresh"]), expires_in=int(grant.expires_in))


def grants_of(config: Config, ledger: Ledger, log: FilteringBoundLogger) -> Grants:
    """Return the grants of a configuration's ledger."""
    passwords = Passwords(ledger=ledger, key=config.service.key, base=config.base)
    return Grants(ledger=ledger, keys=passwords.keys, base=config.base, log=log)


async def client_of(profile: Profile, *, base: Path) -> OAuthClient:
    """Return the profile's application at its provider; raises PpsError that names the key."""
    try:
        reference = profile.oauth_client_secret
        secret = None if reference is None else await resolve(reference, base=base)
    except PpsError as error:
        raise PpsError(f"oauth_client_secret: {error}") from error
    return OAuthClient(endpoints=profile.endpoints, secret=secret)


def _remaining(grant: Grant, *, rotated: bool) -> int | None:
    """Return how long the grant lives on where an answer doesn't say: a new refresh token has a time of its own."""
    return None if rotated or grant.grant_expires_in is None else max(1, int(grant.grant_expires_in))


def _refused(profile: Profile, refusal: Refusal) -> PollError:
    if refusal.code in _FOR_GOOD:
        return GrantEndedError(profile, f"no further token: {refusal.text}")
    mend = "check oauth_client_id, oauth_client_secret and oauth_scope"
    return PollError(PollResult.LOCAL, f"{profile.endpoints.token_url}: no token: {refusal.text}: {mend}")
