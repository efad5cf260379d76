"""What a target is to the worker, and how one is made from its settings. How each kind works stands in its own file."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from common.messages import DeliveryJob
from common.profile import Tls
from deliverer.attempt import Attempt
from deliverer.content import ContentSource
from deliverer.sign_in import Account

BeforeDot = Callable[[], Awaitable[bool]]
"""Asked right before the step that can't be taken back; False: the claim is another's by now, so take no such step."""


class ClaimLostError(Exception):
    """`before_dot` said no: nothing was made final, and nothing may be reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """A target's settings, and where its secret is asked for."""

    url: str
    tls: Tls = Tls.AUTO
    ca: str | None = None  # a PEM file to trust instead of the system's certificates
    received: bool = True  # False: one X-PPS-Trace line instead of a Received field
    sender: str | None = None  # the envelope sender of all mail; "" or "<>": the null sender
    connections: int = 16  # most at a time; a Maildir's threads
    refused_to: str = ""  # the target that takes what this one refuses; "": a person must look
    account: Account | None = None
    client_cert: str | None = None  # PEM file to show the server
    client_key: str | None = None  # None: in the same file


class Target(ABC):
    """A place that takes deliveries.

    ```python
    target = make_target("local", TargetOptions(url="lmtp://127.0.0.1:24"), installation=…, log=log)
    attempt = await target.deliver(job, ContentSource.of(job, blobs), again=False, before_dot=claim.confirm)
    await target.close()
    ```
    """

    repeatable: bool
    """Whether a delivery made twice is recognised, so that a claim that ran out can simply be made again."""

    most_in_doubt: int | None = None
    """How many mails may be past the step that can't be taken back while nobody but us knows how it went: as many may
    come twice if we die then. None: any number, for none would."""

    transport: str = ""
    """How it is spoken to, as its URL's scheme says: what is counted is told apart by it."""

    refused_to: str = ""
    """The target that takes what this one refuses for good; "": a person must look."""

    @abstractmethod
    async def deliver(self, job: DeliveryJob, content: ContentSource, *, again: bool, before_dot: BeforeDot) -> Attempt:
        """Make one attempt at one delivery; whatever the far end does is an Attempt, never an exception.

        `again`: an earlier attempt may have got further than is known. Raises NoBlobError and ContentUnavailableError,
        from the content, and ClaimLostError; then nothing was delivered.
        """

    @abstractmethod
    async def probe(self) -> Attempt | None:
        """Return None if the target would take mail now, else what is wrong with it."""

    @abstractmethod
    async def close(self) -> None:
        """Close connections and threads; nothing is being delivered any more."""
