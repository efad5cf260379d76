"""A login that a person finishes elsewhere, with an address and a code (RFC 8628)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from common.failures import PollError, PollResult, PpsError
from fetcher.oauth_answers import DeviceCode, Refusal, Tokens
from fetcher.oauth_client import OAuthClient

SLOWER_SECONDS: Final = 5
"""What "slow_down" adds to the interval, for good (RFC 8628, section 3.5)."""

SLOWEST_SECONDS: Final = 60
"""The longest interval after questions that nobody answered: each doubles it."""

Sleep = Callable[[float], Awaitable[None]]


async def by_code(client: OAuthClient, show: Callable[[DeviceCode], None], *, sleep: Sleep = asyncio.sleep) -> Tokens:
    """Show address and code, and return the tokens once a person has allowed it; raises PpsError."""
    began = await client.device_code()
    if isinstance(began, Refusal):
        raise PpsError(
            f"{client.endpoints.device_url}: no login by code: {began.text}: check oauth_client_id and scope"
        )
    show(began)
    clock = asyncio.get_running_loop().time
    until = clock() + began.expires_in
    interval: float = began.interval
    while clock() < until:
        await sleep(interval)
        try:
            answer = await client.device_tokens(began.device_code)
        except PollError as error:
            if error.result is not PollResult.NETWORK:
                raise
            interval = min(interval * 2, max(SLOWEST_SECONDS, interval))
            continue
        if isinstance(answer, Tokens):
            return answer
        if answer.code == "slow_down":
            interval += SLOWER_SECONDS
        elif answer.code != "authorization_pending":
            raise _failed(answer)
    raise _failed(Refusal(code="expired_token", text=""))


def _failed(refusal: Refusal) -> PpsError:
    match refusal.code:
        case "access_denied" | "authorization_declined":
            return PpsError("the login was declined there: nothing is changed")
        case "expired_token" | "code_expired":
            return PpsError("the code has expired before the login was done: begin again")
        case _:
            return PpsError(f"the login failed: {refusal.text}: check oauth_client_id and oauth_client_secret")
