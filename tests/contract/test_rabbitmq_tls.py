"""amqps:// on a real node: verified, in TLS 1.2 at least, and what is refused says what to mend."""

import asyncio
import ssl
import warnings

import pytest
import structlog

from common.connect import connect_broker
from common.failures import PpsError
from tests.contract.inbox import Inbox
from tests.servers.plain_tls import PlainTls
from tests.servers.rabbitmq import PASSWORD, RabbitMQ, broker_url

ANSWER_SECONDS = 60


@pytest.fixture
def trusted(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the node's authority trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(rabbitmq.authority))


async def refusal_of(url: str) -> str:
    """Return the one line that says why this broker isn't taken."""
    async with asyncio.timeout(ANSWER_SECONDS):
        with pytest.raises(PpsError) as failure:
            await connect_broker(url, role="test", log=structlog.get_logger())
    text = str(failure.value)
    assert text.startswith("[service] broker: ")
    assert "\n" not in text
    assert PASSWORD not in text
    return text


@pytest.mark.usefixtures("trusted")
async def test_messages_go_both_ways_under_tls(rabbitmq: RabbitMQ, queue: str) -> None:
    """With the newest version that both know, on all connections."""
    broker = await connect_broker(rabbitmq.tls_url, role="test", log=structlog.get_logger())
    inbox = Inbox()
    async with asyncio.timeout(ANSWER_SECONDS):
        await broker.publish(queue, b"sealed", message_id="1")
        await broker.consume(queue, inbox, prefetch=1)
        await inbox.knows({b"sealed"})
    listed = await asyncio.to_thread(rabbitmq.ctl, "list_connections", "--no-table-headers", "ssl", "ssl_protocol")
    await broker.close()
    assert listed.splitlines() == ["true\ttlsv1.3"] * 2


async def test_an_authority_that_nobody_trusts_is_refused(rabbitmq: RabbitMQ) -> None:
    """The line names the variable that would trust it."""
    assert "unable to get local issuer certificate): SSL_CERT_FILE" in await refusal_of(rabbitmq.tls_url)


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_of_another_host_is_refused(rabbitmq: RabbitMQ) -> None:
    """127.1 leads to the same machine, and is no name in its certificate."""
    assert "its certificate is another host's" in await refusal_of(rabbitmq.tls_url.replace("127.0.0.1", "127.1"))


@pytest.mark.usefixtures("trusted")
async def test_tls_older_than_1_2_is_refused(rabbitmq: RabbitMQ) -> None:
    """A server that knows TLS 1.1 at most is told from one that speaks none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(rabbitmq.certificates.chain, rabbitmq.certificates.key)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what the test is about
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with PlainTls(context, implicit_tls=True) as server:
        port = int(server.server.partition(" ")[2].rstrip("s"))
        assert "it has no TLS 1.2 or newer" in await refusal_of(broker_url([port], scheme="amqps"))


@pytest.mark.usefixtures("trusted")
async def test_ports_that_were_mixed_up_say_so(rabbitmq: RabbitMQ) -> None:
    """The port without TLS for amqps://, and the other way round."""
    assert "it doesn't speak TLS there" in await refusal_of(broker_url([rabbitmq.port], scheme="amqps"))
    swapped = rabbitmq.tls_url.replace("amqps://", "amqp://")
    assert "it didn't answer as RabbitMQ does" in await refusal_of(swapped)
