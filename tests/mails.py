"""Builds mails for tests: single ones with defaults, and varied lots whose recipients are known beforehand."""

import base64
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

DOMAIN: Final = "example.com"
USERS: Final = ("ann", "bob", "carol")
FALLBACK: Final = "postmaster"

_DATE: Final = "Mon, 5 Jan 2026 10:00:00 +0100"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A mail, and who must get it by the default rule: the local addresses in To and Cc, else the fallback."""

    label: str
    raw: bytes = field(repr=False)
    recipients: tuple[str, ...]  # user@domain, sorted


def by_recipient(samples: Iterable[Sample]) -> dict[str, list[bytes]]:
    """Return what each recipient must hold in the end, as `tests.maildir.account` takes it."""
    held: dict[str, list[bytes]] = {}
    for sample in samples:
        for recipient in sample.recipients:
            held.setdefault(recipient, []).append(sample.raw)
    return held


def mail(
    *,
    to: str | bytes | None = "ann@local.example",
    cc: str | bytes | None = None,
    subject: str | bytes = "hello",
    sender: str | bytes | None = "sender@sender.example",
    message_id: str | None = None,
    body: str | bytes = "Good morning.\r\n",
    size: int | None = None,
    extra: str | bytes = "",
) -> bytes:
    """Return a mail with CRLF; None leaves a field out.

    Each mail has a Message-ID of its own, unless one is given ("" leaves it out): equal mails would be one copy.
    `extra` is whole fields, each with its CRLF, put first. `size` fills the body up to exactly so many octets.
    """
    if message_id is None:
        message_id = f"<{next(_numbers)}@sender.example>"
    fields = {b"From": sender, b"To": to, b"Cc": cc, b"Subject": subject, b"Date": _DATE, b"Message-ID": message_id}
    lines = [name + b": " + _octets(value) + b"\r\n" for name, value in fields.items() if value not in {None, ""}]
    raw = b"".join([_octets(extra), *lines, b"\r\n", _octets(body)])
    if size is None:
        return raw
    if size < len(raw):
        raise ValueError(f"the mail has {len(raw)} octets already, more than {size}")
    return raw + filling(size - len(raw))


def filling(size: int) -> bytes:
    """Return exactly `size` octets of text in lines of 78 octets, the last one ended too (if there is room to)."""
    line = b"The quick brown fox jumps over the lazy dog, and never looks back at it.." + b"123\r\n"
    whole, rest = divmod(size, len(line))
    return line * whole + (b"x" * (rest - 2) + b"\r\n" if rest >= len(b"\r\n") else b"x" * rest)


def varied(count: int, seed: int = 1, *, domain: str = DOMAIN, odd: bool = False) -> list[Sample]:
    """Return the same `count` realistic mails for the same seed: 1 kB to 200 kB, one in eight over 64 KiB.

    They go to ann, bob and carol at `domain`, or to none of them and so to postmaster. `odd` adds bare CR and LF, NUL
    and a dot between bare LFs, which a Maildir target keeps, and an SMTP target must mend.
    """
    source = random.Random(seed)  # noqa: S311 (mails are no secret)
    shapes = itertools.cycle([*_SHAPES, _odd] if odd else _SHAPES)
    return [_one(source, next(shapes), f"{seed}.{number}", domain) for number in range(count)]


def _one(
    source: random.Random, shape: Callable[[random.Random, int], tuple[str, bytes]], name: str, domain: str
) -> Sample:
    size = source.choice((1_000, 1_500, 2_500, 4_000, 8_000, 20_000, 60_000, source.randrange(66_000, 200_000)))
    fields, users = source.choice(_ADDRESSINGS)
    content, body = shape(source, size)
    raw = mail(
        to=None,
        subject=f"varied {name}",
        message_id=f"<{name}@varied.example>",
        extra=fields.format(domain=domain) + content,
        body=body,
    )
    return Sample(
        label=f"{shape.__name__.strip('_')} {name}",
        raw=raw,
        recipients=tuple(f"{user}@{domain}" for user in users or (FALLBACK,)),
    )


_ADDRESSINGS: Final[Sequence[tuple[str, tuple[str, ...]]]] = (
    ("To: ann@{domain}\r\n", ("ann",)),
    ('To: "Bob, the Builder" <bob@{domain}>\r\nCc: somebody@far.example\r\n', ("bob",)),
    ("To: ann@{domain}, bob@{domain}\r\nCc: carol@{domain}\r\n", ("ann", "bob", "carol")),
    ("To: somebody@far.example\r\nCc: Carol <carol@{domain}>\r\n", ("carol",)),
    ("To: Somebody <somebody@far.example>,\r\n\tAnn <ANN@{domain}>,\r\n bob@{domain}\r\n", ("ann", "bob")),
    ("To: Team: ann@{domain}, carol@{domain};\r\n", ("ann", "carol")),
    ("To: =?utf-8?q?M=C3=BCller=2C_Bob?= <bob@{domain}>\r\nTo: ann@{domain}\r\n", ("ann", "bob")),
    ("To: the-list@lists.example\r\n", ()),
    ("To: undisclosed-recipients:;\r\n", ()),
    ("", ()),
)
"""Fields, and which local users they name."""


def _plain(_source: random.Random, size: int) -> tuple[str, bytes]:
    return "", filling(size)


def _alternative(_source: random.Random, size: int) -> tuple[str, bytes]:
    half = filling(size // 2)
    parts = [b"Content-Type: text/plain\r\n\r\n" + half, b"Content-Type: text/html\r\n\r\n<p>" + half + b"</p>\r\n"]
    return _multipart("alternative", parts)


def _attachment(source: random.Random, size: int) -> tuple[str, bytes]:
    encoded = base64.encodebytes(source.randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")
    head = b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return _multipart("mixed", [b"Content-Type: text/plain\r\n\r\nSee attachment.\r\n", head + encoded])


def _forwarded(_source: random.Random, size: int) -> tuple[str, bytes]:
    inner = mail(to="carol@example.com", message_id="<inner@far.example>", body=filling(size))
    return _multipart("mixed", [b"Content-Type: message/rfc822\r\n\r\n" + inner])


def _eight_bit(source: random.Random, size: int) -> tuple[str, bytes]:
    line = (
        "Grüße aus Köln — ".encode() + b"caf\xe9 \x80\xfe\xff " + bytes(source.choices(range(160, 256), k=30)) + b"\r\n"
    )
    return "Content-Transfer-Encoding: 8bit\r\n", line * (size // len(line) + 1)


def _dots(_source: random.Random, size: int) -> tuple[str, bytes]:
    return "", b".\r\n..\r\n.hidden\r\n...\r\n\r\n.\r\n" + filling(size) + b".\r\n"


def _long_lines(source: random.Random, size: int) -> tuple[str, bytes]:
    return "", b"x" * source.choice((999, 2_049, 10_000)) + b"\r\n" + filling(size) + b"y" * size + b"\r\n"


def _no_last_newline(_source: random.Random, size: int) -> tuple[str, bytes]:
    return "", filling(size) + b"the end, and no line end"


def _many_hops(source: random.Random, size: int) -> tuple[str, bytes]:
    hops = "".join(
        f"Received: from a{hop}.far.example ([192.0.2.{source.randrange(256)}])\r\n"
        f"\tby b{hop}.far.example with ESMTPS id {source.randrange(10**9)}\r\n\tfor <x@far.example>; {_DATE}\r\n"
        for hop in range(12)
    )
    return hops, filling(size)


def _odd(_source: random.Random, size: int) -> tuple[str, bytes]:
    return "", b"bare\nlf\r\nbare\rcr\r\nnul\0\r\n\n.\nstill here\r\r\n" + filling(size)


_SHAPES: Final = (
    _plain,
    _alternative,
    _attachment,
    _eight_bit,
    _dots,
    _long_lines,
    _no_last_newline,
    _forwarded,
    _many_hops,
)


def _multipart(kind: str, parts: Sequence[bytes]) -> tuple[str, bytes]:
    body = b"".join(b"--=_b\r\n" + part + b"\r\n" for part in parts) + b"--=_b--\r\n"
    return f'MIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary="=_b"\r\n', body


def _octets(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
