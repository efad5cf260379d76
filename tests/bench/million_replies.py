"""Reads generated replies with the POP3 reader: `python -m tests.bench.million_replies N`, or `make replies N=1000000`.

Each input is made of what replies are made of, in any order and any pieces. All must end in events or in one
DesynchronisedError, whole or cut up alike; and the time must grow with the octets, whatever these are.
"""

import random
import sys
import time
from collections.abc import Sequence
from typing import Final

from common.failures import PollResult
from fetcher.pop3 import (
    Chunk,
    DesynchronisedError,
    Event,
    Expect,
    Reader,
    parse_capabilities,
    parse_sizes,
    parse_status,
    parse_uidls,
    refusal,
)

TOKENS: Final = (
    *(b"+OK", b"-ERR", b"+ ", b"\r\n", b"\r\n", b"\n", b"\r", b".", b".\r\n", b"\r\n.\r\n", b"\r\n..", b"..\r\n"),
    *(
        b" ",
        b"\t",
        b"\0",
        b"\xff",
        b"1 ",
        b"99999999999999999999 ",
        b"[IN-USE] ",
        b"[",
        b"]",
        b"UIDL",
        b"text",
        b"x" * 300,
    ),
)
GROWTH: Final = (b"\r\n.x", b"\r\n..", b".", b"\r", b"\n", b"\r\n", b"x", b"\r\n.\r", b"1 x\r\n", b"\0")
"""What might make a reader search the same octets again and again."""

SIZES: Final = (1_000_000, 10_000_000)
MOST_GROWTH: Final = 25.0
"""Times longer that ten times the octets may take: linear is 10, quadratic 100."""

RUNS: Final = 3
"""Of which the quickest counts: the machine has other things to do, too."""

PIECE: Final = 1448
"""Octets of a TCP segment: the reader is fed so."""


def events(octets: bytes, cuts: Sequence[int], expected: Sequence[Expect]) -> tuple[list[Event], bool]:
    """Return what the reader makes of the octets, neighbouring chunks joined, and whether it ended in an error."""
    reader, found = Reader(), list[Event]()
    for form in expected:
        reader.expect(form)
    at = 0
    try:
        for end in (*cuts, len(octets)):
            for event in reader.feed(octets[at:end]):
                if isinstance(event, Chunk) and found and isinstance(found[-1], Chunk):
                    found[-1] = Chunk(found[-1].octets + event.octets)
                else:
                    found.append(event)
            at = end
    except DesynchronisedError:
        return found, True
    return found, False


def read_generated(count: int) -> int:
    """Read so many inputs; return how many ended in an error. Raises AssertionError where pieces make a difference."""
    source = random.Random(1)  # noqa: S311 (the same inputs each time)
    refused = 0
    for number in range(count):
        octets = b"".join(source.choices(TOKENS, k=source.randint(1, 30)))
        if number % 2:
            octets = b"+OK\r\n" + octets
        expected = source.choices((Expect.STATUS, Expect.BODY), k=source.randint(1, 3))
        cuts = sorted(source.sample(range(len(octets) + 1), k=min(source.randint(0, 5), len(octets))))
        found, broken = events(octets, cuts, expected)
        if number % 10 == 0:
            assert events(octets, (), expected) == (found, broken), (octets, cuts, expected)
        refused += broken
        _parse(octets)
    return refused


def _parse(octets: bytes) -> None:
    parse_sizes(octets)
    parse_uidls(octets)
    parse_capabilities(octets)
    try:
        refusal(parse_status(octets.partition(b"\r\n")[0]), PollResult.AUTH)
    except DesynchronisedError:
        return


def growth(pattern: bytes) -> tuple[float, float]:
    """Return how much longer ten times the octets take, and the nanoseconds an octet of the larger."""
    small, large = (min(seconds_for(pattern * (size // len(pattern))) for _ in range(RUNS)) for size in SIZES)
    return large / small, large * 1e9 / SIZES[1]


def seconds_for(body: bytes) -> float:
    """Return how long the reader takes for a body that arrives in segments."""
    octets = b"+OK\r\n" + body
    began = time.perf_counter()
    reader = Reader()
    reader.expect(Expect.BODY)
    try:
        for start in range(0, len(octets), PIECE):
            for _event in reader.feed(octets[start : start + PIECE]):
                pass
    except DesynchronisedError:
        pass
    return time.perf_counter() - began


def main() -> int:
    """Read so many inputs as the command line says, then show the times of repeated octets."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    began = time.monotonic()
    refused = read_generated(count)
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{count} inputs in {seconds:.0f} s, {count / seconds:.0f}/s: {refused} ended in an error of the protocol, "
        "none in another, none differently when cut up\n"
    )
    worst = 0.0
    for pattern in GROWTH:
        times, cost = growth(pattern)
        worst = max(worst, times)
        sys.stdout.write(f"{pattern!r}: {times:.1f} times as long for ten times the octets, {cost:.1f} ns an octet\n")
    return 0 if worst < MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
