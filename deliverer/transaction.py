"""One SMTP or LMTP transaction with one recipient, so that LMTP's reply for each recipient is its one reply.

aiosmtplib's own `data()` takes a whole mail in memory and sends the final dot with it. Here the content is streamed
through its protocol, so that memory stays constant, and the dot is a step of its own that can be asked about first.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from common.crashpoints import reach
from common.messages import Stage
from deliverer.attempt import Attempt
from deliverer.line_ends import SmtpEdge
from deliverer.replies import (
    OUTSIDE,
    Reply,
    attempt_of,
    broken,
    is_permanent,
    is_positive,
    reason_of,
    reply_of,
    unaddressable,
)
from deliverer.target import BeforeDot, ClaimLostError

CONNECT_SECONDS: Final = 30.0
"""Each of connecting, greeting, hello, TLS and AUTH: the target is the administrator's own server."""

REPLY_SECONDS: Final = 300.0
"""MAIL, RCPT, DATA, and each block of content (RFC 5321, section 4.5.3.2)."""

DOT_SECONDS: Final = 600.0
"""The reply to the final dot (RFC 5321, section 4.5.3.2.6): given up sooner, a slow server makes duplicates."""

_START_INPUT: Final = 354


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long each step may take, in seconds; tests shorten them."""

    connect: float = CONNECT_SECONDS
    reply: float = REPLY_SECONDS
    dot: float = DOT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a transaction says before the content."""

    sender: str  # "": the null sender
    recipient: str
    size: int  # octets to be sent, about: line ends may be added (RFC 1870, section 5)
    eight_bit: bool


class Transaction:
    """The steps in their order. `stage` is the one that is under way; `nuls_removed` is known at the end."""

    def __init__(
        self, client: aiosmtplib.SMTP, protocol: SMTPProtocol, envelope: Envelope, deadlines: Deadlines
    ) -> None:
        self.stage = Stage.MAIL
        self._client = client
        self._protocol = protocol
        self._envelope = envelope
        self._deadlines = deadlines
        self._edge = SmtpEdge()

    @property
    def nuls_removed(self) -> int:
        """How many NULs were left out, since no mail may hold them."""
        return self._edge.removed

    async def run(self, content: AsyncGenerator[bytes, None], before_dot: BeforeDot) -> Attempt:
        """Send one mail. Raises what `content` and `before_dot` raise, and ClaimLostError: then without the dot."""
        started = time.monotonic()
        try:
            attempt = await self._run(content, before_dot)
        except aiosmtplib.SMTPResponseException as error:  # a reply that can't be read
            attempt = attempt_of(reply_of(error.code, error.message), self.stage)
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError, OSError) as error:
            attempt = broken(self.stage, reason_of(error))
        return replace(attempt, duration=time.monotonic() - started)

    async def _run(self, content: AsyncGenerator[bytes, None], before_dot: BeforeDot) -> Attempt:
        recipient = self._envelope.recipient
        if not recipient.isascii() and not self._offers("smtputf8"):
            return unaddressable("the target offers no SMTPUTF8, which this recipient needs", Stage.RCPT)
        reply = await self._mail()
        if not is_positive(reply):
            return attempt_of(reply, Stage.MAIL)
        self.stage = Stage.RCPT
        reply = await self._command(b"RCPT", b"TO:<" + recipient.encode() + b">")
        if not is_positive(reply):
            return attempt_of(reply, Stage.RCPT)
        self.stage = Stage.DATA
        reply = await self._command(b"DATA")
        if reply.code != _START_INPUT:
            return attempt_of(reply, Stage.DATA)
        await self._send(content)
        if not await before_dot():
            raise ClaimLostError
        return await self._finish()

    async def _mail(self) -> Reply:
        """Name the sender; where the server refuses it, the null sender: the mail matters, not who bounces go to."""
        sender = self._envelope.sender
        if not sender.isascii() and not self._offers("smtputf8"):
            sender = ""
        reply = await self._mail_from(sender)
        if sender and is_permanent(reply) and reply.code not in OUTSIDE:
            reply = await self._mail_from("")
        return reply

    async def _mail_from(self, sender: str) -> Reply:
        parameters = []
        if self._offers("size"):  # RFC 1870
            parameters.append(b"SIZE=%d" % self._envelope.size)
        if self._envelope.eight_bit and self._offers("8bitmime"):  # RFC 6152; without it, the octets go as they are
            parameters.append(b"BODY=8BITMIME")
        if not (sender + self._envelope.recipient).isascii():  # RFC 6531
            parameters.append(b"SMTPUTF8")
        return await self._command(b"MAIL", b"FROM:<" + sender.encode() + b">", *parameters)

    async def _send(self, content: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(content):
            async for chunk in content:
                await self._write(self._edge.feed(chunk))
        await self._write(self._edge.finish())

    async def _write(self, block: bytes) -> None:
        self._protocol.write(block)
        async with asyncio.timeout(self._deadlines.reply):
            await self._protocol._drain_helper()  # noqa: SLF001 (aiosmtplib streams nothing, but has what it takes)

    async def _finish(self) -> Attempt:
        reach("deliverer.before_dot")  # a crash up to here costs nothing: without the dot there was no mail
        # All before it was drained, so the dot goes out at once; if this raises, it didn't.
        self._protocol.write(b".\r\n")
        self.stage = Stage.DOT
        reach("deliverer.after_dot")  # a crash from here to the outcome leaves a claim to run out: ambiguous
        response = await self._protocol.read_response(timeout=self._deadlines.dot)
        reach("deliverer.after_reply")
        return attempt_of(reply_of(response.code, response.message), Stage.DOT)

    async def _command(self, *words: bytes) -> Reply:
        response = await self._client.execute_command(*words, timeout=self._deadlines.reply)
        return reply_of(response.code, response.message)

    def _offers(self, extension: str) -> bool:
        return self._client.supports_extension(extension)
