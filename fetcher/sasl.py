"""SASL mechanisms without I/O: challenges in, responses out, both as octets before base64. No socket or clock here.

RFC 4616 (PLAIN), 2195 (CRAM-MD5), 5802 and 7677 (SCRAM), 7628 (OAUTHBEARER); LOGIN and XOAUTH2 have none.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

import scramp

from common.messages import one_line
from common.profile import Auth

MAX_ITERATIONS: Final = 1_000_000
"""SCRAM rounds: half a second of work; a server that asks for more only wants us to be busy."""

_COUNT: Final = re.compile(rb"(?:^|,)i=(\d{1,9})(?:,|$)")
_TOLD: Final = ("status", "error", "error_description", "scope")
"""What is worth showing of the JSON in which OAuth mechanisms explain a refusal (RFC 7628, section 3.2.2)."""


class SaslError(Exception):
    """A challenge that can't be right: cancel with "*" (RFC 5034, section 4). Never holds a secret."""


class Mechanism(Protocol):
    """One sign-in by one mechanism, for one use."""

    name: str
    explained: str | None  # why the server refuses, where it says so in a challenge

    def first(self) -> bytes | None:
        """Return what the client begins with; None where the server speaks first."""

    def answer(self, challenge: bytes) -> bytes:
        """Return the response to a challenge; raises SaslError."""

    def check_end(self) -> None:
        """Raise SaslError where the server said yes before it has proved what the mechanism has it prove."""


class _Plain:
    """Name and password in one response."""

    name = "PLAIN"
    explained: str | None = None

    def __init__(self, user: str, password: str) -> None:
        self._response = f"\0{user}\0{password}".encode()

    def first(self) -> bytes | None:
        return self._response

    def answer(self, challenge: bytes) -> bytes:
        del challenge  # it may repeat what we sent, cut anywhere
        raise SaslError(f"a challenge where {self.name} has none")

    def check_end(self) -> None:
        pass


class _Login(_Plain):
    """Name, then password. What the server asks with differs, the order doesn't."""

    name = "LOGIN"

    def __init__(self, user: str, password: str) -> None:
        self._answers = [password.encode(), user.encode()]

    def first(self) -> bytes | None:
        return None

    def answer(self, challenge: bytes) -> bytes:
        return self._answers.pop() if self._answers else super().answer(challenge)


class _CramMd5(_Plain):
    """A digest of the server's challenge, keyed with the password."""

    name = "CRAM-MD5"

    def __init__(self, user: str, password: str) -> None:
        self._user, self._key, self._answered = user, password.encode(), False

    def first(self) -> bytes | None:
        return None

    def answer(self, challenge: bytes) -> bytes:
        if self._answered:
            return super().answer(challenge)
        self._answered = True
        digest = hmac.new(self._key, challenge, "md5").hexdigest()
        return f"{self._user} {digest}".encode()


class _Scram:
    """Both sides prove that they know the password, and neither shows it."""

    explained: str | None = None

    def __init__(self, name: str, user: str, password: str, *, nonce: str | None = None) -> None:
        self.name = name
        self._steps = [self._end, self._final]
        self._proved = False
        try:
            self._client = scramp.ScramClient([name], user, password, c_nonce=nonce)
        except scramp.ScramException as error:
            raise SaslError(f"user or password holds what {name} can't carry ({error})") from None

    def first(self) -> bytes | None:
        return str(self._client.get_client_first()).encode()

    def answer(self, challenge: bytes) -> bytes:
        if not self._steps:
            raise SaslError(f"{self.name} was at its end, and the server goes on")
        try:
            return self._steps.pop()(challenge)
        except UnicodeDecodeError:
            raise SaslError(f"its {self.name} challenge isn't UTF-8") from None
        except (scramp.ScramException, ValueError, KeyError) as error:
            raise SaslError(f"its {self.name} challenge is wrong: {one_line(str(error), 100)}") from None

    def check_end(self) -> None:
        if not self._proved:
            raise SaslError("it said yes without having proved that it knows the password: is it the right server?")

    def _final(self, challenge: bytes) -> bytes:
        count = _COUNT.search(challenge)
        if count is None or int(count[1]) > MAX_ITERATIONS:
            raise SaslError(f"its {self.name} challenge asks for no number of rounds up to {MAX_ITERATIONS}")
        self._client.set_server_first(challenge.decode())
        return str(self._client.get_client_final()).encode()

    def _end(self, challenge: bytes) -> bytes:
        self._client.set_server_final(challenge.decode())
        self._proved = True
        return b""


class _Bearer(_Plain):
    """An OAuth 2 access token. The server explains a refusal in a challenge, which must be answered to end it."""

    end: bytes

    def answer(self, challenge: bytes) -> bytes:
        if self.explained is not None:
            return super().answer(challenge)
        self.explained = reason(challenge)
        return self.end


class _Xoauth2(_Bearer):
    """Google's and Microsoft's form."""

    name = "XOAUTH2"
    end = b""

    def __init__(self, user: str, token: str) -> None:
        self._response = f"user={user}\1auth=Bearer {token}\1\1".encode()


class _OauthBearer(_Bearer):
    """The standard's form (RFC 7628)."""

    name = "OAUTHBEARER"
    end = b"\1"

    def __init__(self, user: str, token: str) -> None:
        authzid = user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801, section 4
        self._response = f"n,a={authzid},\1auth=Bearer {token}\1\1".encode()


_MAKERS: Final[dict[Auth, Callable[[str, str], Mechanism]]] = {
    Auth.PLAIN: _Plain,
    Auth.LOGIN: _Login,
    Auth.CRAM_MD5: _CramMd5,
    Auth.SCRAM_SHA_1: lambda user, password: _Scram("SCRAM-SHA-1", user, password),
    Auth.SCRAM_SHA_256: lambda user, password: _Scram("SCRAM-SHA-256", user, password),
    Auth.XOAUTH2: _Xoauth2,
    Auth.OAUTHBEARER: _OauthBearer,
}

_GUARDED: Final = (Auth.SCRAM_SHA_256, Auth.SCRAM_SHA_1, Auth.CRAM_MD5)
"""Mechanisms that never show the password, the strongest first."""


def mechanism(auth: Auth, user: str, secret: str) -> Mechanism:
    """Return the mechanism that `auth` names; `secret` is the password or the access token. Raises SaslError."""
    if "\0" in user + secret:
        raise SaslError("user or password holds a NUL")
    return _MAKERS[auth](user, secret)


def chosen(auth: Auth, offered: frozenset[str], *, has_user: bool, private: bool, bearer: bool) -> Auth:
    """Return how to sign in where the profile leaves it to us.

    `offered` are CAPA's SASL mechanisms, `has_user` tells whether USER and PASS may work, `private` whether nobody can
    listen, `bearer` whether we hold an access token. Over a private link USER and PASS come first: a server offers
    SCRAM for all accounts, also for those whose password it has in a form that SCRAM can't use.
    """
    if auth is not Auth.AUTO:
        return auth
    if bearer:
        return Auth.OAUTHBEARER if _is_in(Auth.OAUTHBEARER, offered) else Auth.XOAUTH2
    guarded = next((one for one in _GUARDED if _is_in(one, offered)), None)
    if guarded is not None and not private:
        return guarded
    if has_user:
        return Auth.PASSWORD
    shown = next((one for one in (Auth.PLAIN, Auth.LOGIN) if _is_in(one, offered)), None)
    return shown or guarded or Auth.PASSWORD


def _is_in(auth: Auth, offered: frozenset[str]) -> bool:
    return auth.value.upper() in offered


def reason(challenge: bytes) -> str:
    """Return in a few words why an OAuth mechanism was refused: the challenge is JSON, or should be."""
    text = challenge.decode(errors="replace")
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return one_line(text, 200)
    return one_line(", ".join(f"{key} {said[key]}" for key in _TOLD if said.get(key)), 200) or "no reason given"


_STAMP: Final = re.compile(r"<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9!#$%&'*+/=?^_`{|}~.:\[\]-]+>")


def apop_digest(greeting: str, password: str) -> str:
    """Return APOP's digest (RFC 1939, section 7); raises SaslError where the greeting's timestamp is no message id.

    A strict reading matters: chosen timestamps of another form let a false server guess the password (CVE-2007-1558).
    """
    stamps = _STAMP.findall(greeting)
    if len(stamps) != 1:
        raise SaslError("its greeting has no timestamp that APOP could use: set auth to another mechanism")
    return hashlib.md5((stamps[0] + password).encode(), usedforsecurity=False).hexdigest()
