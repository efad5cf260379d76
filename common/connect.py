"""Which broker and blob store stand behind the URLs of `[service]`. Imports what a URL needs, and nothing else."""

from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore, BlobStoreError
from common.broker import Broker
from common.config import Service
from common.failures import PpsError, UsageError
from common.metrics import NO_METRICS, Metrics
from common.s3_address import parse_s3
from common.secrets import is_reference, resolve


async def connect_broker(
    url: str,
    *,
    role: str,
    log: FilteringBoundLogger,
    targets: Collection[str] = (),
    metrics: Metrics = NO_METRICS,
) -> Broker:
    """Return the broker of `[service] broker`, connected; raises UsageError for the URL, PpsError for the connection.

    `role` is shown in RabbitMQ's list of connections; what it needs for `targets` is tried at once.
    """
    if url == "memory:":
        from common.memory_broker import MemoryBroker  # noqa: PLC0415 (a cluster's workers don't need it)

        return MemoryBroker(log, metrics=metrics)
    if url.startswith(("amqp:", "amqps:")):
        from common.rabbitmq.broker import connect_rabbitmq  # noqa: PLC0415 (memory: must not pay for importing pika)

        return await connect_rabbitmq(url, role=role, log=log, targets=targets, metrics=metrics)
    raise UsageError(f"[service] broker: {_scheme(url)} is neither memory: nor amqp://user:password@host:5672/vhost")


async def broker_url(service: Service, base: Path) -> str:
    """Return the URL of `[service] broker`, or the one that its reference leads to; raises PpsError."""
    if not is_reference(service.broker):
        return service.broker
    try:
        url = (await resolve(service.broker, base=base)).reveal()
    except PpsError as error:
        raise PpsError(f"[service] broker: {error}") from error.__cause__
    if not url.startswith(("amqp:", "amqps:")):
        raise PpsError("[service] broker: a reference leads to amqp://USER:PASSWORD@HOST/VHOST, and this one doesn't")
    return url


def open_blobs(service: Service, base: Path) -> BlobStore:
    """Return the blob store of `[service] blobs`; relative paths are relative to `base`; raises UsageError."""
    parts = urlsplit(service.blobs)
    if parts.scheme == "s3":
        from common.s3_blobs import S3Blobs  # noqa: PLC0415 (a folder must not pay for importing obstore)

        return S3Blobs(parse_s3(service.blobs), service, base)
    if parts.scheme == "file" and not parts.netloc and parts.path and not parts.query and not parts.fragment:
        from common.folder_blobs import FolderBlobs  # noqa: PLC0415 (as the brokers: only what the URL needs)

        return FolderBlobs(base / unquote(parts.path))
    raise UsageError(
        f"[service] blobs: {_scheme(service.blobs)} is not file:FOLDER, such as file:./blobs or file:/var/lib/pps/blobs"
    )


async def checked_blobs(service: Service, base: Path, log: FilteringBoundLogger) -> BlobStore:
    """Return the blob store for a worker; raises PpsError for what only a person can mend.

    A store that is away for now is no reason to end: small mail doesn't need it, and large mail waits.
    """
    blobs = open_blobs(service, base)
    try:
        await blobs.check()
    except BlobStoreError as error:
        if error.lasting:
            raise PpsError(str(error)) from error
        log.warning("blobs_unreachable", error=str(error))
    return blobs


def _scheme(url: str) -> str:
    """Return the part of a URL that can be shown: what follows may hold a password."""
    scheme, colon, _ = url.partition(":")
    return f'"{scheme}:…"' if colon else "it"
