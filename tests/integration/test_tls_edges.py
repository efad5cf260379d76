"""TLS with who means no good: versions that are too old, octets before the handshake, a handshake without end."""

import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.failures import PollError, PollResult
from common.messages import Result
from common.profile import Tls
from common.server import parse_server
from deliverer.transaction import Deadlines
from fetcher.connection import Connection
from fetcher.link import Link
from fetcher.streams import Limits
from tests.deliveries import deliver, job_of
from tests.integration.test_deliver_smtp import smtp_at
from tests.servers.certificates import Certificates, issue
from tests.servers.smtp import SmtpServer

HANDSHAKE_SECONDS = 0.3


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Issue a certificate for this machine."""
    return issue(tmp_path)


def context_of(certificates: Certificates, *, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a server's context, of one that knows no newer version than that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    if newest is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that is what the test is about
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    return context


@pytest.fixture
def silent() -> Iterator[int]:
    """Return a port that takes connections, and where nobody ever says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("implicit", [True, False])
async def test_a_target_that_knows_only_old_tls_gets_no_mail(
    certificates: Certificates,
    implicit: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """TLS 1.1 is below the floor: an outage, and neither a mail nor a password in any version."""
    context = context_of(certificates, newest=ssl.TLSVersion.TLSv1_1)
    async with SmtpServer(context=context, implicit_tls=implicit) as server:
        target = smtp_at(server.url, tls=Tls.AUTO if implicit else Tls.STARTTLS, ca=str(certificates.ca))

        attempt = await deliver(target, job_of())
        await target.close()

    assert attempt.is_outage
    assert server.deliveries == []
    assert not any(command.startswith(("MAIL", "AUTH")) for command in server.commands)


async def test_what_a_target_says_before_its_handshake_is_not_believed(certificates: Certificates) -> None:
    """Somebody in between adds replies to STARTTLS's own: none of them answers what is asked under TLS."""
    async with SmtpServer(context=context_of(certificates)) as server:
        server.replies("STARTTLS", "220 2.0.0 go on\r\n250-slipped.in\r\n250 SMTPUTF8\r\n250 slipped in\r\n250 saved")
        target = smtp_at(server.url, tls=Tls.STARTTLS, ca=str(certificates.ca))

        attempt = await deliver(target, job_of())
        await target.close()

    assert "slipped" not in attempt.reply
    assert (attempt.result is Result.DELIVERED) is (len(server.deliveries) == 1)
    assert attempt.is_outage or attempt.reply == "250 2.0.0 Saved"


async def test_a_pop3_server_s_handshake_has_a_deadline(silent: int) -> None:
    """Who takes the connection and then says nothing holds no session for ever."""
    link = Link(server=parse_server(f"127.0.0.1 {silent}s"))
    with pytest.raises(PollError) as refused:
        await Connection.open(link, limits=Limits(connect=HANDSHAKE_SECONDS))

    assert refused.value.result in {PollResult.NETWORK, PollResult.TLS}


async def test_a_target_s_handshake_has_a_deadline(silent: int) -> None:
    """Nor does such a target hold up anybody else's mail."""
    target = smtp_at(f"smtps://127.0.0.1:{silent}", Deadlines(connect=HANDSHAKE_SECONDS))

    attempt = await deliver(target, job_of())
    await target.close()

    assert attempt.is_outage
