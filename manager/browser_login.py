"""A login in a browser on this machine, which brings a code back to a port that listens for it (RFC 8252, RFC 7636)."""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

from common.failures import PpsError
from common.messages import one_line
from common.secrets import Secret
from fetcher.oauth_answers import Refusal, Tokens
from fetcher.oauth_client import OAuthClient

LOGIN_SECONDS: Final = 600.0
"""How long a person may take."""

REQUEST_SECONDS: Final = 10.0
MAX_REQUEST: Final = 16 * 1024
"""Octets of the browser's request: codes take some hundred."""

_PAGE: Final = (
    "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nReferrer-Policy: no-referrer\r\n"
    "Connection: close\r\n\r\n{text}\r\n"
)


class Callback:
    """Listens for the browser, and takes only what bears the state that was sent with it."""

    def __init__(self, state: str) -> None:
        self._state = state
        self.came: asyncio.Future[Secret] = asyncio.get_running_loop().create_future()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            status, text = self._answer(head.split(b"\r\n", 1)[0].decode("ascii", "replace"))
            writer.write(_PAGE.format(status=status, text=text).encode())
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever that was, the browser may still come
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _answer(self, line: str) -> tuple[str, str]:
        target = line.partition(" ")[2].partition(" ")[0]
        said = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        if not secrets.compare_digest(said.get("state", "").encode(), self._state.encode()):
            return "404 Not Found", "This is not the login that pps waits for."
        if not self.came.done():
            if "code" in said:
                self.came.set_result(Secret(said["code"]))
            else:
                self.came.set_exception(
                    PpsError(f"the login failed: {one_line(said.get('error', 'no code came'), 100)}")
                )
        return "200 OK", "pps has what it needs, or says what is missing. This window can be closed."


async def by_browser(client: OAuthClient, show: Callable[[str], None], *, port: int = 0) -> Tokens:
    """Show the address to open, and return the tokens once the browser came back; raises PpsError."""
    state, verifier = secrets.token_urlsafe(24), Secret(secrets.token_urlsafe(48))
    callback = Callback(state)
    try:
        listening = await asyncio.start_server(callback.take, "127.0.0.1", port, limit=MAX_REQUEST)
    except OSError as error:
        raise PpsError(f"--port {port}: can't listen there: {error.strerror}") from error
    async with listening:
        redirect = f"http://localhost:{listening.sockets[0].getsockname()[1]}/"
        show(_address(client, redirect, state, verifier))
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                code = await callback.came
        except TimeoutError:
            raise PpsError(f"no browser came back within {LOGIN_SECONDS / 60:.0f} min: begin again") from None
        answer = await client.code_tokens(code, redirect_uri=redirect, verifier=verifier)
    if isinstance(answer, Refusal):
        raise PpsError(f"the login failed: {answer.text}: check oauth_client_id and oauth_client_secret")
    return answer


def _address(client: OAuthClient, redirect: str, state: str, verifier: Secret) -> str:
    digest = hashlib.sha256(verifier.reveal().encode()).digest()
    asked = {
        "client_id": client.endpoints.client_id,
        "redirect_uri": redirect,
        "response_type": "code",
        "scope": client.endpoints.scope or "",
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
        "access_type": "offline",  # Google gives a refresh token only then, and only to who was asked for consent
        "prompt": "consent",
    }
    address = client.endpoints.authorize_url or ""
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode({k: v for k, v in asked.items() if v})}"
