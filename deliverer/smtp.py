"""An SMTP or LMTP server as a target."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from structlog.typing import FilteringBoundLogger

from common.messages import DeliveryJob
from deliverer.attempt import Attempt
from deliverer.content import ContentSource
from deliverer.pool import IDLE_SECONDS, Pool
from deliverer.session import Session, SessionSettings, UnreachableError
from deliverer.target import BeforeDot, Target, TargetOptions
from deliverer.trace import trace_field
from deliverer.transaction import Envelope


class SmtpTarget(Target):
    """Delivers over pooled connections."""

    repeatable = False  # a server can't be asked whether it took a mail

    def __init__(
        self,
        settings: SessionSettings,
        options: TargetOptions,
        *,
        installation: str,
        log: FilteringBoundLogger,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.most_in_doubt = options.connections
        self.refused_to = options.refused_to
        self.transport = settings.url.transport
        self._settings = settings
        self._installation = installation
        self._received = options.received
        self._sender = "" if options.sender == "<>" else options.sender
        self._log = log
        self._pool = Pool(self._open, limit=options.connections, idle_seconds=idle_seconds)

    @property
    def connections_opened(self) -> int:
        """Connections that were tried to be opened so far: for cost ceilings."""
        return self._pool.opened

    async def deliver(
        self,
        job: DeliveryJob,
        content: ContentSource,
        *,
        again: bool,  # noqa: ARG002 (nothing tells here whether a server has the mail already)
        before_dot: BeforeDot,
    ) -> Attempt:
        """See Target."""
        trace = trace_field(job, self._installation, received=self._received)
        envelope = Envelope(
            sender=job.sender if self._sender is None else self._sender,
            recipient=job.recipient,
            size=len(trace) + content.size,
            eight_bit=content.may_be_eight_bit,
        )
        try:
            async with self._pool.session() as session:
                attempt = await session.transact(envelope, _mail(trace, content), before_dot)
                if session.nuls_removed:
                    self._log.warning("nuls_removed", delivery=job.delivery_id, count=session.nuls_removed)
                return attempt
        except UnreachableError as error:
            return error.attempt

    async def probe(self) -> Attempt | None:
        """See Target: the server would take a connection now, and it is kept for the next mail."""
        try:
            async with self._pool.session():
                return None
        except UnreachableError as error:
            return error.attempt

    async def close(self) -> None:
        """See Target."""
        await self._pool.close()

    async def _open(self) -> Session:
        return await Session.open(self._settings)


async def _mail(trace: bytes, content: ContentSource) -> AsyncGenerator[bytes, None]:
    yield trace
    async with aclosing(content.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk
