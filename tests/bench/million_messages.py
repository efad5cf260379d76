"""Decodes generated messages: `python -m tests.bench.million_messages N`, or `make messages N=1000000`.

Each input is a good message that was damaged: octets changed, cut out, doubled or moved, values replaced by others of
any kind and size. All must end as a message that can be sent on unchanged, or in one UndecodableError of one line; and
the largest must take no more than moments, whatever they are made of.
"""

import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgpack

from common.messages import (
    Blob,
    DeliveryJob,
    DeliveryOutcome,
    MailFetched,
    Message,
    UndecodableError,
    decode,
    encode,
)
from tests.deliveries import job_of
from tests.ledger import outcome
from tests.unit.test_messages import FULL, SOME_ID, fetched

M = TypeVar("M", MailFetched, DeliveryJob, DeliveryOutcome)

GOOD: Final[tuple[Message, ...]] = (
    fetched(FULL),
    replace(fetched(FULL), content=Blob(key=SOME_ID, size=70_000, header=b"To: ann@local.example\r\n\r\n")),
    job_of(),
    job_of(blob=True),
    outcome(SOME_ID, SOME_ID),
)

ODD: Final[tuple[object, ...]] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        2**63,
        -(2**63),
        1.5,
        float("nan"),
        float("inf"),
        "",
        "x" * 70_000,
        "\0\x1b[2J",
        "..",
        "/",
    ),
    *(
        b"",
        b"\xff" * 64,
        [],
        {},
        [[[[[]]]]],
        {"": {"": {}}},
        {"a": [1, "b", {"c": b"d"}]},
        "local\r\nDATA",
        "\u202e",
        10**18,
    ),
)
GROWING: Final[dict[str, Callable[[int], object]]] = {
    "keys": lambda octets: {f"key{number:09}": number for number in range(octets // 18)},
    "a list": lambda octets: {"users": ["ann@local.example"] * (octets // 18)},
    "names of users": lambda octets: {"users": [f"user{number:09}@local.example" for number in range(octets // 28)]},
    "wildcards": lambda octets: {"aliases": [[f"*{number:09}-*", ["ann"]] for number in range(octets // 18)]},
    "a text": lambda octets: {"fallback": "x" * octets},
    "a text of controls": lambda octets: {"fallback": "\0" * octets},
    "lists in lists": lambda octets: _nested(min(octets // 1_000, 500)),
}
"""Policies of so many octets: what might make a decoder recurse, or look at the same octets again and again."""

SIZE: Final = 900_000
"""Octets of the largest: almost what a message may have."""

MOST_SECONDS: Final = 5.0
"""For one of these: what looks at fifty thousand names in pairs would take minutes."""

LONGEST_REFUSAL: Final = 400

RUNS: Final = 3
"""Of which the quickest counts: the machine has other things to do, too."""


def decode_generated(count: int) -> int:
    """Decode so many inputs; return how many were messages. Raises whatever else a decoder raises."""
    source = random.Random(1)  # noqa: S311 (the same inputs each time)
    packed = [encode(message) for message in GOOD]
    read = 0
    for _ in range(count):
        octets = source.choice(packed)
        for damage in source.choices(DAMAGES, k=source.choice((1, 1, 1, 2, 3))):
            octets = damage(octets, source)
        read += is_message(octets, MailFetched) + is_message(octets, DeliveryJob) + is_message(octets, DeliveryOutcome)
    return read


def is_message(octets: bytes, kind: type[M]) -> bool:
    """Whether it is one; what refuses it must say so in one line, and what it holds must travel on unchanged."""
    refused = ""
    try:
        message = decode(octets, kind)
    except UndecodableError as error:
        refused = str(error)
    else:
        assert decode(encode(message), kind) == message, octets
    assert refused.isprintable(), octets
    assert len(refused) < LONGEST_REFUSAL, octets
    return not refused


def _flipped(octets: bytes, source: random.Random) -> bytes:
    changed = bytearray(octets)
    for _ in range(source.randint(1, 4)):
        if changed:
            changed[source.randrange(len(changed))] = source.randrange(256)
    return bytes(changed)


def _cut(octets: bytes, source: random.Random) -> bytes:
    return octets[: source.randint(0, len(octets))]


def _spliced(octets: bytes, source: random.Random) -> bytes:
    start, end = sorted(source.randint(0, len(octets)) for _ in range(2))
    return octets[:end] + octets[start:]


def _odd_value(octets: bytes, source: random.Random) -> bytes:
    """Replace one value, at any depth, by something of another kind."""
    try:
        document: Any = msgpack.unpackb(octets, strict_map_key=False)
    except Exception:  # noqa: BLE001 (damaged before: it stays as it is)
        return octets
    place: Any = document
    while isinstance(place, dict) and place:
        key = source.choice(list(place))
        if not isinstance(place[key], dict) or source.random() < 0.3:
            place[key] = source.choice(ODD)
            break
        place = place[key]
    try:
        packed: bytes = msgpack.packb(document)
    except (ValueError, OverflowError, UnicodeEncodeError):
        return octets
    return packed


DAMAGES: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (_flipped, _cut, _spliced, _odd_value, _odd_value)


def longest(name: str) -> float:
    """Return how many seconds a policy of the largest size takes."""
    return min(seconds_for(GROWING[name](SIZE)) for _ in range(RUNS))


def seconds_for(policy: object) -> float:
    """Return how long it takes to refuse a message with this policy."""
    document: Any = msgpack.unpackb(encode(GOOD[0]))
    octets: bytes = msgpack.packb({**document, "policy": policy})
    began = time.perf_counter()
    assert not is_message(octets, MailFetched)
    return time.perf_counter() - began


def _nested(depth: int) -> object:
    value: object = []
    for _ in range(depth):
        value = [value]
    return {"users": value}


def main() -> int:
    """Decode so many inputs as the command line says, then show the times of repeated octets."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    began = time.monotonic()
    read = decode_generated(count)
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{count} inputs in {seconds:.0f} s, {count / seconds:.0f}/s: {read} were messages still, all others were "
        "refused in one line, and nothing else was raised\n"
    )
    worst = 0.0
    for name in GROWING:
        seconds = longest(name)
        worst = max(worst, seconds)
        sys.stdout.write(f"{name}: {seconds * 1000:.1f} ms for {SIZE} octets\n")
    return 0 if worst < MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
