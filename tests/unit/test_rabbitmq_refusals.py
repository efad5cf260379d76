"""What a failed first connection tells the user: real sockets that refuse, keep silent, or speak something else."""

import asyncio

import pytest
import structlog

from common.connect import connect_broker
from common.failures import PpsError
from tests.servers.process import free_port


async def refused(place: str, *, scheme: str = "amqp") -> str:
    """Return the line that connecting there gives."""
    with pytest.raises(PpsError) as failure:
        await connect_broker(f"{scheme}://pps:canary@{place}/pps", role="test", log=structlog.get_logger())
    text = str(failure.value)
    assert "canary" not in text
    assert "\n" not in text
    return text


async def test_a_closed_port_is_named() -> None:
    """Host, port, and what to check."""
    port = free_port()
    text = await refused(f"127.0.0.1:{port}")
    assert text == f"[service] broker: 127.0.0.1:{port}: nothing listens there: check the port, and that RabbitMQ runs"


async def test_every_node_that_failed_is_named() -> None:
    """With several hosts each has its own reason."""
    one, two = free_port(), free_port()
    text = await refused(f"127.0.0.1:{one},127.0.0.1:{two}")
    assert f"127.0.0.1:{one}: nothing" in text
    assert f"127.0.0.1:{two}: nothing" in text


async def test_an_unknown_host_is_named() -> None:
    """A name that can't exist (RFC 6761, section 6.4)."""
    assert "unknown host" in await refused("rabbit.invalid")


@pytest.mark.parametrize(
    ("scheme", "said"), [("amqp", "it didn't answer as RabbitMQ does"), ("amqps", "it doesn't speak TLS")]
)
async def test_another_service_on_the_port_is_told(scheme: str, said: str) -> None:
    """A web server, say: the port is wrong, or TLS is."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        assert said in await refused(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", scheme=scheme)
