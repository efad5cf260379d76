"""Builds delivery jobs for the deliverer's tests, and delivers them without a worker."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
import uuid_utils
from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.folder_blobs import FolderBlobs
from common.header import split_header
from common.messages import MAX_INLINE, Blob, Content, DeliveryJob, Inline
from deliverer.attempt import Attempt
from deliverer.content import ContentSource
from deliverer.make import make_target
from deliverer.target import Target, TargetOptions
from deliverer.transaction import Deadlines

INSTALLATION: Final = "0192f0c1-2222-7000-8000-0123456789ab"
DELIVERY: Final = "0192f0c1-2345-7abc-8def-0123456789ab"
MAIL: Final = b"From: x@far.example\r\nTo: ann@local.example\r\nSubject: hello\r\n\r\nGood morning.\r\n"

LOG: Final[FilteringBoundLogger] = structlog.wrap_logger(
    structlog.ReturnLogger(), processors=[], wrapper_class=structlog.make_filtering_bound_logger("critical")
)
"""Logs nothing."""


def new_id() -> str:
    """Return a fresh UUIDv7."""
    return str(uuid_utils.uuid7())


def job_of(
    raw: bytes = MAIL,
    *,
    recipient: str = "ann@local.example",
    delivery_id: str | None = None,
    mail_id: str | None = None,
    sender: str = "sender@far.example",
    target: str = "local",
    attempt: int = 1,
    blob: bool = False,
) -> DeliveryJob:
    """Return a job for one mail: inline if it fits and `blob` doesn't ask otherwise."""
    mail_id = mail_id or new_id()
    content: Content
    if blob or len(raw) > MAX_INLINE:
        content = Blob(key=mail_id, size=len(raw))
    else:
        content = Inline(data=raw, header_length=split_header(raw))
    return DeliveryJob(
        delivery_id=delivery_id or new_id(),
        mail_id=mail_id,
        profile_id=new_id(),
        recipient=recipient,
        fallback="postmaster@local.example",
        target=target,
        sender=sender,
        content=content,
        digest=hashlib.sha256(raw).digest(),
        size=len(raw),
        source_host="pop.far.example",
        attempt=attempt,
        first_attempt_at=1_700_000_000_000,
        reason="To",
    )


def target_of(options: TargetOptions, deadlines: Deadlines | None = None) -> Target:
    """Return a target as the role makes it."""
    return make_target("local", options, installation=INSTALLATION, log=LOG, deadlines=deadlines)


async def always() -> bool:
    """Stand for a claim that is good."""
    return True


async def deliver(
    target: Target,
    job: DeliveryJob,
    blobs: BlobStore | None = None,
    *,
    again: bool = False,
    before_dot: Callable[[], Awaitable[bool]] = always,
) -> Attempt:
    """Make one attempt; inline jobs need no blobs."""
    content = ContentSource.of(job, blobs or FolderBlobs(Path("/nonexistent")))
    return await target.deliver(job, content, again=again, before_dot=before_dot)
