"""Fixtures that several of these tests share: a scripted POP3 server, and a mailbox on it."""

from collections.abc import AsyncIterator

import pytest

from tests.servers.pop3 import Pop3Server
from tests.servers.pop3_mailbox import Mailbox


@pytest.fixture
async def server() -> AsyncIterator[Pop3Server]:
    """Run a sample POP3 server."""
    async with Pop3Server() as running:
        yield running


@pytest.fixture
def box(server: Pop3Server) -> Mailbox:
    """Make an empty mailbox on it."""
    return server.mailbox("office")
