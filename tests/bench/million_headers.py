"""A million generated headers through the reader, and its time over the size of a header: `make headers N=1000000`.

Headers are pieces that matter to the parser, real forms cut and joined, and random octets; policies use every key. The
first header that raises, or whose recipients break a promise, is printed with its seed, and the exit code is 1.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Final

from common.messages import MAX_HEADER
from common.routing_policy import RoutingPolicy
from router.headers import fields_of
from router.loops import loop_reason
from router.recipients import recipients_in
from router.rules import Rule
from tests.unit.header_corpus import CORPUS, POLICY, policy

SIZES: Final = (1024, 4096, 16 * 1024, 64 * 1024, MAX_HEADER)
REPEATS: Final = 3
INSTALLATION: Final = "01900000-0000-7000-8000-00000000000a"

PIECES: Final = (
    *(
        b"ann",
        b"bob@local.example",
        b"local.example",
        b"far.example",
        b"ann+x@second.example",
        b"sales-1@local.example",
    ),
    *(
        b"@",
        b"<",
        b">",
        b",",
        b";",
        b":",
        b"(",
        b")",
        b"[",
        b"]",
        b'"',
        b"'",
        b"\\",
        b".",
        b" ",
        b"\t",
        b"\r\n ",
        b"\n ",
    ),
    *(b"=?utf-8?q?", b"?=", b"=?", b"?", b"\0", b"\xc3\xa4", b"\xff", b"\xe3\x80\x82", b"xn--", b"mailto:", b"*", b"+"),
    *(b" by ", b" for ", b"from ", b"mailing list ", b"mx.far.example", b"list.far.example", b"\r", b"\x1b"),
)
NAMES: Final = (
    *(b"To: ", b"Cc: ", b"Bcc: ", b"to :", b"Resent-To: ", b"Resent-Cc:", b"Delivered-To: ", b"X-Original-To:"),
    *(b"Received: ", b"List-Id: ", b"List-Post: ", b"Return-Path: ", b"Subject: ", b"X-PPS-Trace: ", b"From ", b" "),
)
POLICIES: Final = (
    POLICY,
    policy("same_users = true\nbcc = true\nresent = true\nsubaddress = 'strip'"),
    policy(
        "envelope = ['X-Original-To', 'Delivered-To:2', 'Received']\nenvelope_hops = 2\n"
        "envelope_by = ['*.far.example']\nenvelope_prefix = 'x-'\nusers = ['ann', 'bob']\n"
        "fallback_subaddress = true\nresent = true\n"
        "aliases = { 'sales-*' = ['ann', 'carol'], '*x*y' = 'bob' }\nlists = { 'list.far.example' = 'ann' }"
    ),
)
FIELDS: Final = tuple(field.value for case in CORPUS for field in fields_of(case.header))

FLOODS: Final[dict[str, Callable[[int], bytes]]] = {
    "letters to users": lambda size: b"To: " + b"Ann Smith <ann@local.example>, " * (size // 31),
    "foreign addresses": lambda size: b"To: " + b"x@far.example," * (size // 14),
    "nested comments": lambda size: b"To: " + b"(" * (size // 2) + b")" * (size // 2),
    "open comments": lambda size: b"To: " + b"(" * size,
    "open quotes": lambda size: b"To: " + b'"' * size,
    "encoded words without end": lambda size: b"To: " + b"=?utf-8?q?" * (size // 10),
    "groups in groups": lambda size: b"To: " + b"a:" * (size // 2),
    "brackets": lambda size: b"To: " + b"<" * size,
    "folds": lambda size: b"To: a" + b"\r\n " * (size // 3),
    "Received": lambda size: b"Received: by by for for <\r\n" * (size // 27),
    "one word": lambda size: b"To: " + b"a" * size,
    "short fields": lambda size: b"a:\r\n" * (size // 4),
}


def generated(seed: int) -> tuple[bytes, RoutingPolicy]:
    """Return the header of this seed, and the policy that it is read by."""
    source = random.Random(seed)  # noqa: S311 (the same header for the same seed)
    lines = []
    for _ in range(source.randint(1, 6)):
        kind = source.random()
        if kind < 0.6:
            value = b"".join(source.choices(PIECES, k=source.randint(0, 20)))
        elif kind < 0.9:
            value = _mutated(source.choice(FIELDS), source)
        else:
            value = source.randbytes(source.randint(0, 60))
        lines.append(source.choice(NAMES) + value)
    return b"\r\n".join(lines), source.choice(POLICIES)


def _mutated(value: bytes, source: random.Random) -> bytes:
    at, until = sorted((source.randint(0, len(value)), source.randint(0, len(value))))
    return value[:at] + source.choice(PIECES) + (value[until:] if source.random() < 0.5 else value[at:])


def broken(header: bytes, by: RoutingPolicy) -> str | None:
    """Return which promise the reading of a header breaks."""
    fields = fields_of(header)
    found = recipients_in(fields, by, header_cut=False)
    loop_reason(fields, INSTALLATION, found.addresses)
    if not found.recipients or len(set(found.addresses)) != len(found.recipients):
        return "nobody, or somebody twice"
    for one in found.recipients:
        user, _, domain = one.address.partition("@")
        if one.rule is not Rule.FALLBACK and domain not in by.local_domains:
            return "a recipient outside the local domains"
        if not user or user[0] in ".-" or set(user) & set('/%!|\\"<>() \r\n\t\0'):
            return "an unsafe recipient"
    return None


def _portion(seeds: range) -> tuple[int, int, str | None]:
    """Read the headers of these seeds; return how many, their octets, and the first that broke a promise."""
    octets = 0
    for done, seed in enumerate(seeds):
        header, by = generated(seed)
        octets += len(header)
        try:
            complaint = broken(header, by)
        except Exception as error:  # noqa: BLE001 (which is what this looks for)
            complaint = repr(error)
        if complaint is not None:
            return done, octets, f"seed {seed}: {complaint}: {header!r}"
    return len(seeds), octets, None


def seconds_for(header: bytes) -> float:
    """Return the CPU seconds that a header takes, the best of some."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        recipients_in(fields_of(header), POLICIES[-1], header_cut=False)
        best = min(best, time.process_time() - began)
    return best


def main() -> int:
    """Generate, read, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out = sys.stdout
    out.write(f"{'µs by octets':28}" + "".join(f"{size:>10}" for size in SIZES) + "   ns/octet, first and last\n")
    for name, flood in FLOODS.items():
        times = [seconds_for(flood(size)[:size]) for size in SIZES]
        ends = f"{times[0] / SIZES[0] * 1e9:8.0f} {times[-1] / SIZES[-1] * 1e9:8.0f}"
        out.write(f"{name:28}" + "".join(f"{spent * 1e6:10.0f}" for spent in times) + f"   {ends}\n")
        out.flush()
    began, read, octets = time.monotonic(), 0, 0
    portions = [range(at, min(at + 5000, arguments.count)) for at in range(0, arguments.count, 5000)]
    with get_context("spawn").Pool(1) as pool:
        seeds = [range(portion.start + arguments.seed, portion.stop + arguments.seed) for portion in portions]
        for done, size, complaint in pool.imap(_portion, seeds):
            read, octets = read + done, octets + size
            if complaint is not None:
                out.write(f"{complaint}\n")
                return 1
    out.write(
        f"{read} headers, {octets} octets, {time.monotonic() - began:.0f} s, generating them included: no exception, "
        "every recipient local and safe\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
