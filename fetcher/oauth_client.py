"""Asks OAuth 2 endpoints for tokens, over HTTPS: with a deadline, a cap, and no redirects."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from common.failures import PollError, PollResult
from common.oauth_keys import Endpoints
from common.secrets import Secret
from fetcher.oauth_answers import DeviceCode, Refusal, Tokens, masked, parse_device, parse_tokens

if TYPE_CHECKING:
    import httpx

SECONDS: Final = 30.0
"""How long an endpoint may take, all in all."""

MAX_ANSWER: Final = 256 * 1024
"""Octets of an answer."""

HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
TOO_MANY: Final = 429
SERVER_ERRORS: Final = range(500, 600)

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """One application at one provider."""

    endpoints: Endpoints
    secret: Secret | None = None

    async def refresh(self, token: Secret) -> Tokens | Refusal:
        """Ask for a new access token (RFC 6749, section 6); raises PollError when there is no answer."""
        form = {"grant_type": "refresh_token", "refresh_token": token.reveal()}
        if self.endpoints.scope is not None:
            form["scope"] = self.endpoints.scope
        return await self._tokens(form)

    async def device_code(self) -> DeviceCode | Refusal:
        """Begin a login that a person finishes elsewhere (RFC 8628, section 3.1)."""
        form = {"client_id": self.endpoints.client_id}
        if self.endpoints.scope is not None:
            form["scope"] = self.endpoints.scope
        found = parse_device(*await _post(self.endpoints.device_url or "", form))
        return masked(found, form) if isinstance(found, Refusal) else found

    async def device_tokens(self, code: Secret) -> Tokens | Refusal:
        """Ask whether that person is done (RFC 8628, section 3.4)."""
        return await self._tokens({"grant_type": DEVICE_GRANT, "device_code": code.reveal()})

    async def code_tokens(self, code: Secret, *, redirect_uri: str, verifier: Secret) -> Tokens | Refusal:
        """Exchange what a browser brought back (RFC 6749, section 4.1.3; RFC 7636)."""
        form = {"grant_type": "authorization_code", "code": code.reveal(), "redirect_uri": redirect_uri}
        return await self._tokens({**form, "code_verifier": verifier.reveal()})

    async def _tokens(self, form: dict[str, str]) -> Tokens | Refusal:
        sent = {**form, "client_id": self.endpoints.client_id}
        if self.secret is not None:
            sent["client_secret"] = self.secret.reveal()
        found = parse_tokens(*await _post(self.endpoints.token_url, sent))
        return masked(found, sent) if isinstance(found, Refusal) else found


async def _post(url: str, form: Mapping[str, str]) -> tuple[int, bytes]:
    """Send a form; raises PollError where nobody answers, or the answer is that of a server in trouble."""
    import httpx  # noqa: PLC0415 (0.15 s, for the few who need it)

    host = urlsplit(url).hostname
    try:
        async with (
            asyncio.timeout(SECONDS),
            httpx.AsyncClient(verify=ssl.create_default_context(), timeout=SECONDS) as client,
            client.stream("POST", url, data=dict(form), headers=HEADERS) as answer,
        ):
            status, body = answer.status_code, await _capped(answer)
    except TimeoutError:
        raise PollError(PollResult.NETWORK, f"{host}: no answer in {SECONDS:.0f} s") from None
    except httpx.HTTPError as error:
        what = str(error) or type(error).__name__
        raise PollError(PollResult.NETWORK, f"{host}: can't ask for a token: {what}") from None
    if status == TOO_MANY or status in SERVER_ERRORS:
        raise PollError(PollResult.NETWORK, f"{host}: can't give a token now: it answers {status}")
    return status, body


async def _capped(answer: "httpx.Response") -> bytes:
    body = b""
    async for chunk in answer.aiter_raw():  # unpacked, a small one could be huge
        body += chunk
        if len(body) > MAX_ANSWER:
            raise PollError(PollResult.NETWORK, f"{answer.url.host}: an answer over {MAX_ANSWER} octets")
    return body
