"""Headers that no letter has: bounded time and memory, a reason, and neighbours that don't notice."""

import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.header import split_header
from common.messages import MAX_INLINE, MailFetched
from router.headers import fields_of
from router.recipients import recipients_in, recipients_of
from tests.bench.address_readers import LIBRARIES, OURS, better_elsewhere, cases, score
from tests.bench.million_headers import FLOODS, POLICIES, broken, generated
from tests.mails import mail
from tests.unit.router_bench import Bench, open_bench

SIZE = 16 * 1024
HEADERS = 2000
"""Generated in the suite: `make headers` reads a million."""

BAD: dict[str, tuple[bytes, str]] = {
    "100,000 addresses": (
        b"To: " + b",".join(b"u%d@local.example" % n for n in range(100_000)),
        "fallback: the header is too long to be read",
    ),
    "10,000 addresses": (
        b"To: " + b",".join(b"u%d@local.example" % n for n in range(10_000)),
        "fallback: To and Cc name more than 1000 local users",
    ),
    "1 MB of header": (
        b"To: ann@local.example\r\nX-Filler: " + b"x" * 1_000_000,
        "fallback: the header is too long to be read",
    ),
    "10,000 fields": (b"X: y\r\n" * 10_000, "fallback: the header has more than 1000 fields"),
    "1,000 nested comments": (
        b"To: " + b"(" * 1000 + b"<ann@local.example>" + b")" * 1000,
        "fallback: To and Cc name no local user",
    ),
    "1,000 comments that nothing closes": (
        b"To: " + b"(" * 1000 + b"x@far.example",
        "fallback: To and Cc name no local user",
    ),
    "encoded words without end": (b"To: " + b"=?utf-8?b?QW5u" * 10_000, "fallback: To and Cc name no local user"),
    "NULs": (b"To: " + b"\0" * 100_000, "fallback: To and Cc name no local user"),
}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A router with all its neighbours in a folder of its own."""
    async with open_bench(tmp_path) as found:
        yield found


async def fetched(bench: Bench, header: bytes) -> MailFetched:
    """Return a mail with this header as a fetcher would publish it: a large one as a blob, its header cut."""
    raw = header + b"\r\n\r\nbody\r\n"
    return await bench.fetched(raw, blob=len(raw) > MAX_INLINE)


@pytest.mark.parametrize("kind", BAD)
async def test_the_fallback_gets_what_cannot_be_read_and_neighbours_are_routed(bench: Bench, kind: str) -> None:
    """With the reason, and at once: a good mail before and one after it go to whom they name."""
    header, reason = BAD[kind]
    before, after = await bench.fetched(mail(to="ann@local.example")), await bench.fetched(mail(to="bob@local.example"))
    bad = await fetched(bench, header)
    began = time.process_time()

    jobs = await bench.route(before, bad, after)

    assert [job.recipient for job in jobs] == ["ann@local.example", "postmaster@local.example", "bob@local.example"]
    assert jobs[1].reason == reason
    assert time.process_time() - began < 10  # seconds; idle, the worst takes a fifth of one


@pytest.mark.parametrize("flood", ["letters to users", "nested comments", "brackets", "groups in groups"])
def test_memory_is_bounded_by_the_header(flood: str) -> None:
    """It takes a few hundred octets for each of the header's, the worst there are, and gives them back."""
    header = FLOODS[flood](SIZE)[:SIZE]
    tracemalloc.start()
    try:
        recipients_of(header, POLICIES[-1], header_cut=False)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 400 * SIZE
    assert left < SIZE


def test_generated_headers_keep_every_promise() -> None:
    """No exception, and every recipient is local, safe and there once: as `make headers` asks of a million."""
    for seed in range(HEADERS):
        header, policy = generated(seed)
        assert broken(header, policy) is None, (seed, header)


def test_no_library_reads_the_corpus_better() -> None:
    """Where one did, it would be used, or ours mended. The table: python -m tests.bench.address_readers."""
    scores = {reader: score(reader) for reader in (*LIBRARIES, OURS)}

    assert better_elsewhere() == []
    assert len(cases()) >= 200
    assert scores[OURS].right == len(cases())
    assert max(scores[reader].right for reader in LIBRARIES) < len(cases())


def test_what_follows_the_header_costs_nothing() -> None:
    """A body of any size is never looked at."""
    raw = b"To: ann@local.example\r\n\r\n" + b"To: bob@local.example\r\n" * 100_000

    assert split_header(raw) == 25
    assert len(fields_of(raw)) == 1
    assert recipients_in(fields_of(raw), POLICIES[0], header_cut=False).addresses == ("ann@local.example",)
