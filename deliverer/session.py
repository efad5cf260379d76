"""One SMTP or LMTP connection: opened, greeted, encrypted, authenticated, used again, closed. By aiosmtplib."""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from common.failures import PpsError
from common.messages import Stage
from common.profile import Tls
from common.target_url import TargetUrl, Transport
from deliverer.attempt import Attempt
from deliverer.replies import attempt_of, broken, is_positive, reason_of, reply_of
from deliverer.sign_in import Account, sign_in
from deliverer.target import BeforeDot
from deliverer.transaction import Deadlines, Envelope, Transaction

QUIT_SECONDS: Final = 2.0
"""The reply to QUIT: all is done by then."""

_HELLO_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How to open a connection: where to, how encrypted, as whom."""

    url: TargetUrl
    tls: Tls  # implicit, starttls or none
    context: ssl.SSLContext | None
    account: Account | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)


class UnreachableError(Exception):
    """No session could be opened; the attempt says why."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.reply)
        self.attempt = attempt


def tls_context(tls: Tls, ca: str | None) -> ssl.SSLContext | None:
    """Return how to verify a target's certificate, None where nothing is encrypted; raises OSError."""
    if tls is Tls.NONE:
        return None
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def show_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """Have a context show our certificate where the server asks for one; raises OSError, and ValueError for its key."""

    def no_passphrase() -> str:
        raise ValueError("its key is encrypted: decrypt it, and chmod 600")

    context.load_cert_chain(certificate, key, password=no_passphrase)


def _trouble(error: Exception) -> str:
    """Return why nothing can be sent to the target now, and what to look at."""
    match error.__cause__ or error:
        case ConnectionRefusedError() | FileNotFoundError():
            return "nobody listens there: start it, or check url"
        case socket.gaierror():
            return "there is no such host: check url"
        case ssl.SSLCertVerificationError() as refused:
            return f"its certificate is not to be trusted ({refused.verify_message}): check the name in url, or set ca"
        case _:
            return reason_of(error)


class Session:
    """An open connection. One transaction at a time."""

    def __init__(self, client: aiosmtplib.SMTP, protocol: SMTPProtocol, deadlines: Deadlines) -> None:
        self.clean = True  # whether the server waits for a command, as far as is known
        self.nuls_removed = 0  # from the last content
        self._client = client
        self._protocol = protocol
        self._deadlines = deadlines

    @classmethod
    async def open(cls, settings: SessionSettings) -> "Session":
        """Connect; raises UnreachableError, whatever the reason."""
        client = _client(settings)
        try:
            await client.connect()
            await _prepare(client, settings)
            if client.protocol is None or client.transport is None:
                raise aiosmtplib.SMTPServerDisconnected("connection lost")
        except aiosmtplib.SMTPResponseException as error:
            client.close()
            attempt = attempt_of(reply_of(error.code, error.message), Stage.CONNECT)
            raise UnreachableError(attempt) from error
        except PpsError as error:  # the secret can't be found now
            client.close()
            raise UnreachableError(broken(Stage.CONNECT, f"{settings.url}: password: {error}")) from error
        except (aiosmtplib.SMTPException, OSError) as error:  # ssl.SSLError is an OSError
            client.close()
            raise UnreachableError(broken(Stage.CONNECT, f"{settings.url}: {_trouble(error)}")) from error
        except asyncio.CancelledError:
            client.close()
            raise
        # Flow control to the last octet: what was drained is in the kernel's hands, and memory holds one block. Not 0:
        # a TLS transport would take its empty buffer for a full one, and wait for ever.
        if isinstance(client.transport, asyncio.WriteTransport):
            client.transport.set_write_buffer_limits(high=1)
        return cls(client, client.protocol, settings.deadlines)

    async def transact(
        self, envelope: Envelope, content: AsyncGenerator[bytes, None], before_dot: BeforeDot
    ) -> Attempt:
        """Send one mail; see Transaction.run. After an exception the session is not clean."""
        self.clean = False
        transaction = Transaction(self._client, self._protocol, envelope, self._deadlines)
        attempt = await transaction.run(content, before_dot)
        self.nuls_removed = transaction.nuls_removed
        self.clean = not attempt.lost and self._client.is_connected
        return attempt

    async def is_usable(self) -> bool:
        """Whether the server would begin another transaction: asked before a connection is used again."""
        try:
            response = await self._client.execute_command(b"RSET", timeout=self._deadlines.connect)
        except (aiosmtplib.SMTPException, OSError):
            return False
        return is_positive(reply_of(response.code, response.message)) and self._client.is_connected

    async def quit(self) -> None:
        """Say goodbye, not waiting long for the answer, and disconnect."""
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await self._client.execute_command(b"QUIT", timeout=QUIT_SECONDS)
        self.abort()

    def abort(self) -> None:
        """Drop the connection as it is: a transaction without its final dot never happened."""
        if isinstance(self._protocol.transport, asyncio.WriteTransport):
            self._protocol.transport.abort()
        self._client.close()


class _LmtpClient(aiosmtplib.SMTP):
    """Greets with LHLO, the one difference that concerns a single recipient (RFC 2033, section 4.1)."""

    async def ehlo(self, **_keywords: Any) -> aiosmtplib.SMTPResponse:  # noqa: ANN401 (as its base declares them)
        response = await self.execute_command(b"LHLO", (self.local_hostname or "localhost").encode())
        if not is_positive(reply_of(response.code, response.message)):
            raise aiosmtplib.SMTPHeloError(response.code, response.message)
        self.last_ehlo_response = response
        return response

    async def helo(self, **_keywords: Any) -> aiosmtplib.SMTPResponse:  # noqa: ANN401 (as its base declares them)
        raise aiosmtplib.SMTPException("the server refused LHLO: it may speak SMTP instead of LMTP")


def _client(settings: SessionSettings) -> aiosmtplib.SMTP:
    url = settings.url
    kind = _LmtpClient if url.transport in {Transport.LMTP, Transport.LMTP_UNIX} else aiosmtplib.SMTP
    place: dict[str, Any] = {"socket_path": url.path} if url.path else {"hostname": url.host, "port": url.port}
    name = socket.gethostname()
    return kind(
        **place,
        local_hostname=name if _HELLO_NAME.fullmatch(name) else "localhost",
        timeout=settings.deadlines.connect,
        use_tls=settings.tls is Tls.IMPLICIT,
        start_tls=False,  # it is done here, so that a server without it gets a reason that names the setting
        tls_context=settings.context,
    )


async def _prepare(client: aiosmtplib.SMTP, settings: SessionSettings) -> None:
    await _greet(client)
    if settings.tls is Tls.STARTTLS:
        if not client.supports_extension("starttls"):
            raise aiosmtplib.SMTPException('the target offers no STARTTLS; tls = "none" would send mail in cleartext')
        await client.starttls()
        await _greet(client)  # what was said before may be forged (RFC 3207, section 4.2)
    if settings.account is not None:
        await sign_in(client, settings.account)


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as error:
        if not client.is_connected or error.code in {421, 0}:
            raise
        await client.helo()
