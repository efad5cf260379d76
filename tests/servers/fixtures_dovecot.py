"""Fixtures for Dovecot: one server for all tests, and a mailbox of its own for each test that asks."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.servers.dovecot import PASSWORD, Dovecot

CATCH_ALL: Final = "catchall"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """One POP3 account on the shared Dovecot, which no other test touches."""

    dovecot: Dovecot = field(repr=False)
    user: str
    password: str

    @property
    def server(self) -> str:
        """The plain port (STLS offered), in the form that a profile takes."""
        return f"{self.dovecot.host} {self.dovecot.pop3_port}"

    def plant(self, *mails: bytes) -> None:
        """Put mails in, listed in this order after those already there."""
        self.dovecot.plant(self.user, mails)

    def remaining(self) -> list[bytes]:
        """Return the mails still there, in canonical form."""
        return self.dovecot.remaining(self.user)


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """Run a Dovecot with one POP3 user `catchall`; a test that ends it starts it again (`start` is idempotent)."""
    with Dovecot({CATCH_ALL: PASSWORD}) as server:
        yield server


@pytest.fixture
def mailbox(dovecot: Dovecot) -> Mailbox:
    """Make an empty POP3 mailbox under a new name."""
    dovecot.start()
    user = dovecot.add_user(f"box{next(_numbers)}")
    return Mailbox(dovecot=dovecot, user=user, password=PASSWORD)
