"""The three messages on the queues, their limits, and how they are written as bytes.

Every value checks itself where it is made, so the sender and the receiver share the check. Encoding is msgpack: a map
of field names, with the message's type and version. No ext types; raw mail stays bytes and is never decoded.
"""

import contextlib
import math
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

import msgpack
from pydantic import ConfigDict, StrictBool, StrictBytes, StrictInt, StrictStr, TypeAdapter, ValidationError

from common.addresses import MAX_DOMAIN, is_address
from common.routing_policy import RoutingPolicy

VERSION: Final = 1

MAX_INLINE: Final = 64 * 1024
"""Octets of mail that travel inside a message; larger mail travels as a blob reference."""

MAX_HEADER: Final = 256 * 1024
"""Octets of header block that a router looks at; what is longer is cut, and marked so."""

MAX_INLINE_FAN_OUT: Final = 1024 * 1024
"""Size times recipients up to which jobs carry the mail inline; above it, the router makes one blob for all."""

MAX_MESSAGE: Final = 1024 * 1024
"""Octets of one encoded message: a header block, a policy of 384 KiB and room; far below RabbitMQ 4's 16 MiB."""

MAX_TEXT: Final = 512
"""Characters of a reply or reason."""

MAX_NAME: Final = 64
"""Characters of a target's name and of a mailbox hash."""

MAX_ENHANCED: Final = len("5.123.123")
"""Characters of an enhanced status code (RFC 3463)."""

DIGEST: Final = 32
"""Octets of a SHA-256."""

ID_LENGTH: Final = 36
"""Characters of a UUID."""

_EXACT: Final = ConfigDict(extra="forbid")


class Result(StrEnum):
    """How one attempt at one delivery went."""

    DELIVERED = "delivered"  # the target took custody
    DEFERRED = "deferred"  # not now; tried again by the ledger's schedule
    REFUSED = "refused"  # the target said no for good
    AMBIGUOUS = "ambiguous"  # the answer after the final dot was lost: it may have been delivered
    NO_CONTENT = "no_content"  # the blob is gone: the mail must be fetched again


class Stage(StrEnum):
    """Where in a delivery an attempt ended."""

    CLAIM = "claim"  # an earlier claim ran out
    CONNECT = "connect"  # connection, greeting, EHLO, TLS, AUTH
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # DATA and the content, before the final dot
    DOT = "dot"  # the reply to the final dot
    STORE = "store"  # a Maildir write


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """A whole raw mail inside the message."""

    __pydantic_config__: ClassVar = _EXACT

    data: StrictBytes = field(repr=False)
    header_length: StrictInt  # octets up to and with the empty line; a mail without body may end before it

    def __post_init__(self) -> None:
        _require(len(self.data) <= MAX_INLINE, "inline mail too large")
        _require(0 <= self.header_length <= len(self.data), "header longer than its mail")

    @property
    def size(self) -> int:
        """Octets of the raw mail."""
        return len(self.data)

    @property
    def header(self) -> bytes:
        """The header block, its empty line included where there is one."""
        return self.data[: self.header_length]

    @property
    def header_cut(self) -> bool:
        """Whether the header block was too long to travel: never inline."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A reference to a raw mail in the blob store."""

    __pydantic_config__: ClassVar = _EXACT

    key: StrictStr  # the mail id
    size: StrictInt  # octets of the raw mail
    header: StrictBytes = field(default=b"", repr=False)  # at most MAX_HEADER; empty in jobs, which don't need it
    header_cut: StrictBool = False  # the header block was longer than MAX_HEADER

    def __post_init__(self) -> None:
        _require_id(self.key)
        _require(self.size >= 0, "negative size")
        _require(len(self.header) <= MAX_HEADER, "header block too large")


Content = Inline | Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class MailFetched:
    """One mail was fetched and is recorded in the ledger; a router decides who gets it."""

    __pydantic_config__: ClassVar = _EXACT

    mail_id: StrictStr
    mailbox: StrictStr  # hash of host and user
    profile_id: StrictStr
    revision: StrictInt  # of the profile, when the mail was fetched
    fetches: StrictInt  # how often the mail was sent back to be fetched; an older count is stale
    policy: RoutingPolicy
    target: StrictStr  # name, not URL
    content: Content
    digest: StrictBytes  # SHA-256 of the raw mail
    body_digest: StrictBytes  # SHA-256 of what follows the header block
    source_host: StrictStr
    fetched_at: StrictInt  # milliseconds since 1970 UTC

    def __post_init__(self) -> None:
        _require_id(self.mail_id)
        _require_id(self.profile_id)
        _require(0 < len(self.mailbox) <= MAX_NAME, "not a mailbox hash")
        _require(self.fetches >= 0 and self.revision >= 0, "negative count")
        _require_target(self.target)
        _require(len(self.digest) == len(self.body_digest) == DIGEST, "not a SHA-256")
        _require_line(self.source_host, MAX_DOMAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryJob:
    """A request for one attempt at one delivery."""

    __pydantic_config__: ClassVar = _EXACT

    delivery_id: StrictStr
    mail_id: StrictStr
    profile_id: StrictStr
    recipient: StrictStr
    fallback: StrictStr
    target: StrictStr
    sender: StrictStr  # envelope sender; "" is the null sender
    content: Content
    digest: StrictBytes
    size: StrictInt
    source_host: StrictStr
    attempt: StrictInt  # from 1
    first_attempt_at: StrictInt  # milliseconds since 1970 UTC: when the delivery was created
    reason: StrictStr  # which field and rule named the recipient

    def __post_init__(self) -> None:
        _require_id(self.delivery_id)
        _require_id(self.mail_id)
        _require_id(self.profile_id)
        _require_address(self.recipient)
        _require_address(self.fallback)
        _require(self.sender == "" or is_address(self.sender), "not an envelope sender")
        _require_target(self.target)
        _require(len(self.digest) == DIGEST, "not a SHA-256")
        _require(self.attempt >= 1, "attempts count from 1")
        _require(self.size == self.content.size, "size differs from the content's")
        _require_line(self.source_host, MAX_DOMAIN)
        _require_line(self.reason, MAX_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOutcome:
    """How one attempt at one delivery went, in the target's own words."""

    __pydantic_config__: ClassVar = _EXACT

    delivery_id: StrictStr
    mail_id: StrictStr
    attempt: StrictInt
    result: Result
    code: StrictInt  # SMTP reply code; 0 where there was none
    enhanced: StrictStr  # "4.2.2", or ""
    reply: StrictStr  # one line, at most MAX_TEXT characters
    stage: Stage
    target: StrictStr
    duration: float  # seconds, connection set-up left out
    at: StrictInt  # milliseconds since 1970 UTC, the deliverer's clock: for people, never for decisions
    refused_to: StrictStr = ""  # the target that takes what this one refuses; "": a person must look

    def __post_init__(self) -> None:
        _require_id(self.delivery_id)
        _require_id(self.mail_id)
        if self.refused_to:
            _require_target(self.refused_to)
        _require(math.isfinite(self.duration) and self.duration >= 0, "not a duration")
        _require(self.attempt >= 1, "attempts count from 1")
        _require(self.code == 0 or 100 <= self.code <= 999, "not a reply code")  # noqa: PLR2004 (three digits)
        _require(len(self.enhanced) <= MAX_ENHANCED, "not an enhanced status code")
        _require_line(self.reply, MAX_TEXT)
        _require_target(self.target)


Message = MailFetched | DeliveryJob | DeliveryOutcome
M = TypeVar("M", MailFetched, DeliveryJob, DeliveryOutcome)


class UndecodableError(ValueError):
    """Bytes that are not a message of this version; the text says why, and holds nothing of a mail."""


def encode(message: Message) -> bytes:
    """Return the message as msgpack; `decode` with the same type gives an equal value back."""
    body = {name: _plain(getattr(message, name)) for name in _NAMES[type(message)]}
    packed: bytes = msgpack.packb({"type": type(message).__name__, "version": VERSION, **body}, use_bin_type=True)
    _require(len(packed) <= MAX_MESSAGE, "message too large")
    return packed


def decode(body: bytes, kind: type[M]) -> M:
    """Return the message of type `kind` that `body` holds, or raise UndecodableError."""
    if len(body) > MAX_MESSAGE:
        raise UndecodableError(f"message of {len(body)} octets is over the limit of {MAX_MESSAGE}")
    try:
        document = msgpack.unpackb(body, raw=False, use_list=False, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack raises its own kinds, ValueError and RecursionError; all mean the same
        raise UndecodableError(f"not msgpack: {type(error).__name__}") from error
    if not isinstance(document, dict) or document.pop("type", None) != kind.__name__:
        raise UndecodableError(f"not a {kind.__name__}")
    version = document.pop("version", None)
    if version != VERSION:
        raise UndecodableError(f"{kind.__name__} of version {one_line(str(version), 16)}, this program reads {VERSION}")
    _put_known_policy(document)
    try:
        return _reader(kind).validate_python(document)  # type: ignore[no-any-return]  # the adapter of just this kind
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UndecodableError(one_line(f"not a {kind.__name__}: {place}: {first['msg']}", 200)) from None


def one_line(text: str, limit: int = MAX_TEXT) -> str:
    """Return text from outside as one printable line: control characters and surrogates become "?", cut at `limit`."""
    if text.isprintable():
        return text[:limit]
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text[:limit])


def _plain(value: object) -> object:
    if isinstance(value, RoutingPolicy):
        return value.travelling()
    if isinstance(value, Inline | Blob):
        return {name: getattr(value, name) for name in _NAMES[type(value)]}
    return value


_NAMES: Final[dict[type, tuple[str, ...]]] = {
    kind: tuple(f.name for f in fields(kind)) for kind in (Inline, Blob, MailFetched, DeliveryJob, DeliveryOutcome)
}

_READERS: Final[dict[type, TypeAdapter[Any]]] = {}


def _reader(kind: type) -> TypeAdapter[Any]:
    """Return what checks a message of this kind: made when first asked for, since commands never ask."""
    if kind not in _READERS:
        _READERS[kind] = TypeAdapter(kind)
    return _READERS[kind]


def _put_known_policy(document: dict[str, Any]) -> None:
    """Have the mails of a mailbox share their policy: it is checked once, however many users it names."""
    policy = document.get("policy")
    if isinstance(policy, dict):
        with contextlib.suppress(TypeError, ValidationError):  # the message's own reader says what is wrong, and where
            document["policy"] = _policy_of(tuple(policy.items()))


@lru_cache(maxsize=64)
def _policy_of(travelled: tuple[tuple[str, object], ...]) -> RoutingPolicy:
    policy: RoutingPolicy = _reader(RoutingPolicy).validate_python(dict(travelled))
    return policy


def _require(condition: bool, complaint: str) -> None:  # noqa: FBT001 (reads as an assertion)
    if not condition:
        raise ValueError(complaint)


def made_at(made_id: str) -> float:
    """Return when a UUIDv7 was made, in seconds since 1970 by its maker's clock (RFC 9562, section 5.7); ValueError."""
    return int.from_bytes(UUID(made_id).bytes[:6], "big") / 1000


def _require_id(value: str) -> None:
    _require(len(value) == ID_LENGTH and value.isascii() and value.replace("-", "").isalnum(), "not an id")


def _require_line(value: str, limit: int) -> None:
    _require(len(value) <= limit and value.isprintable(), "not one printable line")


def _require_target(value: str) -> None:
    _require(0 < len(value) <= MAX_NAME and value.isascii() and value.replace("-", "").isalnum(), "not a target name")


def _require_address(value: str) -> None:
    _require(is_address(value), "not an address")
