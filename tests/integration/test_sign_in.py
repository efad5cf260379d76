"""Signing in to a real Dovecot by each mechanism that it has, and what a wrong password or token looks like."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from common.failures import PollError, PollResult
from common.profile import Auth
from common.server import parse_server
from fetcher.connection import Connection
from fetcher.link import Link
from tests.mails import mail
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures_dovecot import Mailbox

BY_PASSWORD: Final = [auth for auth in Auth if auth not in {Auth.XOAUTH2, Auth.OAUTHBEARER}]
CANARY: Final = "canary=wörd 42"


@asynccontextmanager
async def opened(dovecot: Dovecot) -> AsyncIterator[Connection]:
    """Open a connection without TLS, and drop it in the end."""
    where = parse_server(f"{dovecot.host} {dovecot.pop3_port}")
    connection = await Connection.open(Link(server=where))
    try:
        yield connection
    finally:
        connection.abort()


@pytest.mark.parametrize("auth", BY_PASSWORD)
async def test_each_mechanism_leads_to_the_mailbox(mailbox: Mailbox, auth: Auth) -> None:
    """An odd password, in UTF-8: USER and PASS, APOP, and every SASL mechanism that takes a password."""
    mailbox.dovecot.add_user(mailbox.user, CANARY)
    mailbox.plant(mail())
    async with opened(mailbox.dovecot) as connection:
        await connection.authenticate(mailbox.user, CANARY, auth)
        assert len(await connection.listing()) == 1


@pytest.mark.parametrize("auth", BY_PASSWORD)
async def test_each_mechanism_tells_a_wrong_password(mailbox: Mailbox, auth: Auth) -> None:
    """It is an auth failure, in one line that doesn't hold the password in any form."""
    async with opened(mailbox.dovecot) as connection:
        with pytest.raises(PollError) as raised:
            await connection.authenticate(mailbox.user, CANARY, auth)
    assert raised.value.result is PollResult.AUTH
    assert "check user and password" in str(raised.value)
    assert "canary" not in str(raised.value)


async def test_a_long_password_waits_for_the_servers_plus(mailbox: Mailbox) -> None:
    """A first response that makes AUTH's line longer than 255 octets is sent in a second step (RFC 5034)."""
    long = "x" * 300
    mailbox.dovecot.add_user(mailbox.user, long)
    async with opened(mailbox.dovecot) as connection:
        await connection.authenticate(mailbox.user, long, Auth.PLAIN)
        assert await connection.listing() == ()


async def test_sign_ins_do_not_hold_up_each_other(mailbox: Mailbox) -> None:
    """Twenty SCRAM sign-ins at a time, whose rounds are worked through in threads."""

    async def sign_in() -> None:
        async with opened(mailbox.dovecot) as connection:
            await connection.authenticate(mailbox.user, mailbox.password, Auth.SCRAM_SHA_256)
            await connection.quit()

    await asyncio.gather(*(sign_in() for _ in range(20)))
