"""`pps oauth`: signing a mailbox in with its provider, beside whatever runs, and how the grants stand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.config import Config
from common.failures import PpsError, UsageError
from common.ledger.grants import Grant
from common.log import open_log
from common.profile import Profile
from common.secrets import resolve
from fetcher.grants import WARN_SECONDS, client_of, grants_of
from fetcher.oauth_answers import DeviceCode, Refusal, Tokens
from fetcher.oauth_client import OAuthClient
from manager.browser_login import by_browser
from manager.device_login import by_code
from manager.profile_changes import opened_ledger
from manager.profiles import known_profiles, named


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a person signs in, and where what they need is shown."""

    show_code: Callable[[DeviceCode], None]
    show_address: Callable[[str], None]
    browser: bool = False  # rather than a code, where there is a choice
    port: int = 0  # that the browser comes back to; 0: any
    refresh_token: str | None = None  # a reference, where the login was done by other means


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A profile that signs in with tokens, and its grant."""

    profile: Profile
    grant: Grant | None

    @property
    def state(self) -> str:
        """How the grant stands, in a few words."""
        if self.grant is None:
            return "nobody has signed in"
        if self.grant.refused is not None:
            return "ended"
        left = self.grant.grant_expires_in
        return "ends soon" if left is not None and left < WARN_SECONDS else "good"

    @property
    def wants_login(self) -> bool:
        """Whether a person must, or soon must, sign in."""
        return self.state != "good"

    def document(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        grant = self.grant
        return {
            "profile": self.profile.name,
            "user": self.profile.user,
            "provider": None if self.profile.oauth is None else self.profile.oauth.value,
            "state": self.state,
            "token_expires_in": None if grant is None else round(grant.expires_in),
            "grant_expires_in": None
            if grant is None or grant.grant_expires_in is None
            else round(grant.grant_expires_in),
            "refused": None if grant is None else grant.refused,
        }


async def log_in(config: Config, name: str, ways: Ways) -> None:
    """Sign a profile's mailbox in, store the grant, and make the profile due; raises PpsError."""
    profile = await _profile(config, name)
    async with opened_ledger(config) as ledger:
        grants = grants_of(config, ledger, open_log("-", config.base, level="error"))
        await grants.keys()  # before a person takes the trouble
        tokens = await _tokens(await client_of(profile, base=config.base), config, ways)
        await grants.keep(profile, tokens)
        await ledger.set_due(name)


async def signed(config: Config) -> tuple[Signed, ...]:
    """Return all profiles that sign in with tokens, by name."""
    profiles = [known.profile for known in await known_profiles(config) if known.profile.oauth is not None]
    async with opened_ledger(config) as ledger:
        return tuple([Signed(profile=profile, grant=await ledger.grant_of(profile.mailbox)) for profile in profiles])


async def _tokens(client: OAuthClient, config: Config, ways: Ways) -> Tokens:
    if ways.refresh_token is not None:
        return await _of_refresh_token(client, config, ways.refresh_token)
    if client.endpoints.device_url is not None and not ways.browser:
        return await by_code(client, ways.show_code)
    if client.endpoints.authorize_url is not None:
        return await by_browser(client, ways.show_address, port=ways.port)
    raise UsageError("--browser: the profile has no oauth_authorize_url: set it, or sign in with a code")


async def _of_refresh_token(client: OAuthClient, config: Config, reference: str) -> Tokens:
    """Take over a login that was done by other means: what it gives must work before it is kept."""
    try:
        held = await resolve(reference, base=config.base)
    except PpsError as error:
        raise PpsError(f"--refresh-token: {error}") from error
    answer = await client.refresh(held)
    if isinstance(answer, Refusal):
        raise PpsError(f"--refresh-token: {answer.text}: sign in anew, without it")
    return Tokens(
        access=answer.access,
        refresh=answer.refresh or held,
        expires_in=answer.expires_in,
        grant_expires_in=answer.grant_expires_in,
    )


async def _profile(config: Config, name: str) -> Profile:
    profile = named(await known_profiles(config), name, config).profile
    if profile.oauth is None:
        raise UsageError(f'{config.path}: profile "{name}" signs in with a password: set oauth and oauth_client_id')
    return profile
