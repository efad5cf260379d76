"""Which broker and blob store stand behind the URLs of `[service]`. Imports what a URL needs, and nothing else."""

from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.broker import Broker
from common.config import Service
from common.failures import PpsError, UsageError
from common.secrets import is_reference, resolve


async def connect_broker(url: str, *, role: str, log: FilteringBoundLogger, targets: Collection[str] = ()) -> Broker:
    """Return the broker of `[service] broker`, connected; raises UsageError for the URL, PpsError for the connection.

    `role` is shown in RabbitMQ's list of connections; what it needs for `targets` is tried at once.
    """
    if url == "memory:":
        from common.memory_broker import MemoryBroker  # noqa: PLC0415 (a cluster's workers don't need it)

        return MemoryBroker(log)
    if url.startswith(("amqp:", "amqps:")):
        from common.rabbitmq import connect_rabbitmq  # noqa: PLC0415 (memory: must not pay for importing pika)

        return await connect_rabbitmq(url, role=role, log=log, targets=targets)
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


def open_blobs(url: str, base: Path) -> BlobStore:
    """Return the blob store of `[service] blobs`; a relative folder is relative to `base`; raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path and not parts.query and not parts.fragment:
        from common.folder_blobs import FolderBlobs  # noqa: PLC0415 (as the brokers: only what the URL needs)

        return FolderBlobs(base / unquote(parts.path))
    raise UsageError(
        f"[service] blobs: {_scheme(url)} is not file:FOLDER, such as file:./blobs or file:/var/lib/pps/blobs"
    )


def _scheme(url: str) -> str:
    """Return the part of a URL that can be shown: what follows may hold a password."""
    scheme, colon, _ = url.partition(":")
    return f'"{scheme}:…"' if colon else "it"
