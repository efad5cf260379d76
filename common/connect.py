"""Which broker and blob store stand behind the URLs of `[service]`. Imports what a URL needs, and nothing else."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.broker import Broker
from common.failures import UsageError


async def connect_broker(url: str, *, role: str, log: FilteringBoundLogger) -> Broker:
    """Return the broker of `[service] broker`, connected; raises UsageError for the URL, PpsError for the connection.

    `role` is shown in RabbitMQ's list of connections.
    """
    if url == "memory:":
        from common.memory_broker import MemoryBroker  # noqa: PLC0415 (a cluster's workers don't need it)

        return MemoryBroker(log)
    if url.startswith(("amqp:", "amqps:")):
        from common.rabbitmq import connect_rabbitmq  # noqa: PLC0415 (memory: must not pay for importing pika)

        return await connect_rabbitmq(url, role=role, log=log)
    raise UsageError(f"[service] broker: {_scheme(url)} is neither memory: nor amqp://user:password@host:5672/vhost")


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
