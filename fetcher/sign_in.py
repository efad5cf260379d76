"""Signing in: USER and PASS, APOP, or a SASL mechanism through AUTH (RFC 1939, 5034), and what a refusal means.

What the server says is shown without the password or token, in clear or in base64, also where the server repeats it.
"""

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final, NoReturn

from common.failures import PollError, PollResult
from common.profile import Auth
from common.secrets import Secret
from fetcher.dialogue import Dialogue
from fetcher.pop3 import Capabilities, Challenge, Status, command, refusal, without
from fetcher.sasl import Mechanism, SaslError, apop_digest, chosen, mechanism

MAX_AUTH_LINE: Final = 255
"""Octets of an AUTH command with its CRLF (RFC 2449, section 4); a longer response waits for the server's "+"."""

MAX_CHALLENGES: Final = 8
"""No mechanism here takes more than three; a server that never ends asking is left."""

_ENCODED: Final = re.compile(r"[A-Za-z0-9+/=._~-]{8,}")
"""What may be a piece of base64 or of a token: servers repeat some of a line as well as all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who signs in, and how."""

    user: str
    secret: Secret  # the password or, with `bearer`, an OAuth 2 access token
    auth: Auth = Auth.AUTO
    bearer: bool = False


class SignIn:
    """One sign-in on one connection."""

    def __init__(self, dialogue: Dialogue, capabilities: Capabilities, account: Account) -> None:
        self._dialogue = dialogue
        self._capabilities = capabilities
        self._account = account
        self._sent: list[str] = []  # what the server may not be shown repeating

    async def run(self, greeting: str, *, private: bool) -> None:
        """Sign in; raises PollError. `private`: encrypted, or on this machine."""
        try:
            await self._run(self._chosen(private=private), greeting)
        except SaslError as error:
            raise self._error(PollResult.PROTOCOL, self._masked(str(error))) from None
        except PollError as error:
            if error.result is not PollResult.NETWORK:
                raise
            hint = "at sign-in, which some servers do on a wrong password"
            raise PollError(PollResult.NETWORK, f"{error}, {hint}") from error
        self._dialogue.mask = self._masked

    @property
    def _offered(self) -> tuple[str, ...]:
        return self._capabilities.names.get("SASL", ())

    def _chosen(self, *, private: bool) -> Auth:
        return chosen(
            self._account.auth,
            frozenset(name.upper() for name in self._offered),
            has_user=self._capabilities.has("USER") or "SASL" not in self._capabilities.names,
            private=private,
            bearer=self._account.bearer,
        )

    async def _run(self, auth: Auth, greeting: str) -> None:
        user, secret = self._account.user, self._account.secret.reveal()
        self._sent.append(secret)
        if auth is Auth.PASSWORD:
            await self._command("USER", user)
            await self._command("PASS", secret)
        elif auth is Auth.APOP:
            await self._command("APOP", user, apop_digest(greeting, secret))
        else:
            await self._converse(mechanism(auth, user, secret))

    async def _command(self, verb: str, *arguments: str) -> None:
        try:
            line = command(verb, *arguments)
        except ValueError as error:
            raise self._error(PollResult.AUTH, str(error)) from None
        status = await self._dialogue.ask(line)
        if not status.ok:
            self._refuse(status, None)

    # AUTH

    async def _converse(self, by: Mechanism) -> None:
        said, greeted = await self._begin(by)
        for _ in range(MAX_CHALLENGES):
            if isinstance(said, Status):
                break
            said = await self._dialogue.challenge(await self._response(by, said, first=not greeted))
            greeted = True
        if isinstance(said, Challenge):
            await self._cancel(SaslError(f"{by.name} never ends"))
        elif not said.ok:
            self._refuse(said, by)
        else:
            by.check_end()

    async def _begin(self, by: Mechanism) -> tuple[Challenge | Status, bool]:
        """Send AUTH, with the first response if it fits; return the reply, and whether the response went with it."""
        first = by.first()
        if first is not None:
            line = command("AUTH", by.name, self._encoded(first) or "=")
            if len(line) <= MAX_AUTH_LINE:
                return await self._dialogue.challenge(line), True
        return await self._dialogue.challenge(command("AUTH", by.name)), first is None

    async def _response(self, by: Mechanism, said: Challenge, *, first: bool) -> bytes:
        try:
            if first:  # the "+" that asks for it is empty, and whatever else some servers write
                octets = by.first() or b""
            else:
                challenge = base64.b64decode(said.text, validate=True)
                octets = await asyncio.to_thread(by.answer, challenge)  # SCRAM's rounds take a while
        except (SaslError, binascii.Error) as error:
            wrong = error if isinstance(error, SaslError) else SaslError(f"its {by.name} challenge isn't base64")
            await self._cancel(wrong)
        return f"{self._encoded(octets)}\r\n".encode()

    async def _cancel(self, error: SaslError) -> NoReturn:
        await self._dialogue.challenge(b"*\r\n")  # whatever it answers to that
        raise error

    def _encoded(self, octets: bytes) -> str:
        text = base64.b64encode(octets).decode()
        self._sent.append(text)
        return text

    # Refusals

    def _refuse(self, status: Status, by: Mechanism | None) -> NoReturn:
        result = refusal(status, PollResult.AUTH)
        said = self._masked(status.text.rstrip("."))
        if by is not None and by.explained:
            said = f"{said} ({self._masked(by.explained)})"
        raise self._error(result, f"sign-in as {self._account.user} refused: {said}{self._mend(result, by)}")

    def _mend(self, result: PollResult, by: Mechanism | None) -> str:
        if result is not PollResult.AUTH:
            return ""
        if by is not None and self._offered and by.name not in {name.upper() for name in self._offered}:
            return f": it offers {' '.join(self._offered)}, not {by.name}: check auth"
        return ": sign in anew if this goes on" if self._account.bearer else ": check user and password"

    def _masked(self, text: str) -> str:
        for secret in self._sent:
            text = without(text, secret)
        return _ENCODED.sub(lambda match: "***" if self._is_part(match[0]) else match[0], text)

    def _is_part(self, text: str) -> bool:
        return any(text in secret for secret in self._sent)

    def _error(self, result: PollResult, text: str) -> PollError:
        return PollError(result, f"{self._dialogue.server}: {text}")
