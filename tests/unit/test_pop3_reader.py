"""The POP3 reader: tables run whole, byte by byte and with trailing bytes; the same events whatever the chunking."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.failures import PollResult
from fetcher.pop3 import (
    CHUNK,
    MAX_STATUS,
    MAX_UIDL,
    Capabilities,
    Challenge,
    Chunk,
    DesynchronisedError,
    End,
    Event,
    Expect,
    Reader,
    Status,
    command,
    parse_capabilities,
    parse_sizes,
    parse_status,
    parse_uidls,
    refusal,
    unstuffed,
    without,
)

S, B = Expect.STATUS, Expect.BODY

OK: Final = Status(ok=True, text="")


def read(pieces: Iterable[bytes], *expected: Expect) -> list[Event]:
    """Feed the pieces to a reader that expects these replies; return the events, the chunks of a body made one."""
    reader = Reader()
    for form in expected:
        reader.expect(form)
    return joined(event for piece in pieces for event in reader.feed(piece))


def read_to_the_error(pieces: Iterable[bytes], expected: Sequence[Expect]) -> tuple[list[Event], str]:
    """Return the events that came before a DesynchronisedError, and its text; "" for none."""
    reader, found = Reader(), list[Event]()
    for form in expected:
        reader.expect(form)
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                found.append(event)
    except DesynchronisedError as error:
        return joined(found), str(error)
    return joined(found), ""


def joined(events: Iterable[Event]) -> list[Event]:
    """Return the events with neighbouring chunks made one: how a body is cut up says nothing."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, Chunk) and found and isinstance(found[-1], Chunk):
            found[-1] = Chunk(found[-1].octets + event.octets)
        else:
            found.append(event)
    return found


def cut(octets: bytes, *sizes: int) -> Iterator[bytes]:
    """Yield the octets in pieces of these sizes, over and over."""
    at = number = 0
    while at < len(octets):
        size = sizes[number % len(sizes)]
        yield octets[at : at + size]
        at, number = at + size, number + 1


def on_the_wire(body: bytes, status: bytes = b"+OK\r\n") -> bytes:
    """Return a multi-line reply (RFC 1939, section 3); a body is sent as lines, so its last one ends."""
    return status + (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


REPLIES: Final[Sequence[tuple[Sequence[Expect], bytes, Sequence[Event]]]] = (
    ([S], b"+OK\r\n", [OK]),
    ([S], b"+ok \r\n", [OK]),
    ([S], b"+OK ready\r\n", [Status(ok=True, text="ready")]),
    ([S], b"-ERR no\r\n", [Status(ok=False, text="no")]),
    ([S], b"-err\tno such\tmail\r\n", [Status(ok=False, text="no such mail")]),
    ([S], b"-ERR [IN-USE] wait\r\n", [Status(ok=False, text="[IN-USE] wait", code="IN-USE")]),
    ([S], b"-ERR [sys/temp] wait\r\n", [Status(ok=False, text="[sys/temp] wait", code="SYS/TEMP")]),
    ([S], b"+OK caf\xc3\xa9 \xff\x1b[0m\r\n", [Status(ok=True, text="caf\xe9 \N{REPLACEMENT CHARACTER}?[0m")]),
    ([S], b"+OK bare\n", [Status(ok=True, text="bare")]),
    ([S], b"+OK " + b"x" * (MAX_STATUS - 5) + b"\r\n", [Status(ok=True, text="x" * 200)]),
    ([S, S], b"+OK one\r\n-ERR two\r\n", [Status(ok=True, text="one"), Status(ok=False, text="two")]),
    ([B], b"-ERR no body\r\n", [Status(ok=False, text="no body")]),
    ([B], b"+OK\r\n.\r\n", [OK, End()]),
    ([B], b"+OK\n.\r\n", [OK, End()]),
    ([B], b"+OK\r\nbody\r\n.\r\n", [OK, Chunk(b"body\r\n"), End()]),
    ([B], b"+OK\nbody\r\n.\r\n", [OK, Chunk(b"body\r\n"), End()]),
    ([B], b"+OK\r\n\r\n.\r\n", [OK, Chunk(b"\r\n"), End()]),
    ([B], b"+OK\r\n\r\n\r\n\r\n.\r\n", [OK, Chunk(b"\r\n\r\n\r\n"), End()]),
    ([B], b"+OK\r\n\r\r\r\r\n.\r\n", [OK, Chunk(b"\r\r\r\r\n"), End()]),
    ([B], b"+OK\r\n\n\n\n\r\n.\r\n", [OK, Chunk(b"\n\n\n\r\n"), End()]),
    ([B], b"+OK\r\na\n.\nb\r.\rc\n.\r\nd\r\n.\n\r\n.\r\n", [OK, Chunk(b"a\n.\nb\r.\rc\n.\r\nd\r\n.\n\r\n"), End()]),
    ([B], b"+OK\r\n..\r\n.\r\n", [OK, Chunk(b".\r\n"), End()]),
    ([B], b"+OK\r\n...\r\n..a\r\n....\r\n.\r\n", [OK, Chunk(b"..\r\n.a\r\n...\r\n"), End()]),
    ([B], b"+OK\r\n.not stuffed\r\n.\r\n", [OK, Chunk(b".not stuffed\r\n"), End()]),
    ([B], b"+OK\r\n\0\xff\x80\r\n.\r\n", [OK, Chunk(b"\0\xff\x80\r\n"), End()]),
    (
        [B, B, S],
        b"+OK\r\none\r\n.\r\n+OK\r\n..two\r\n.\r\n+OK\r\n",
        [OK, Chunk(b"one\r\n"), End(), OK, Chunk(b".two\r\n"), End(), OK],
    ),
    ([B, B, S], b"-ERR\r\n+OK\r\n.\r\n+OK\r\n", [Status(ok=False, text=""), OK, End(), OK]),
)
"""What is expected, what arrives, and the events."""


@pytest.mark.parametrize(("expected", "octets", "events"), REPLIES)
def test_replies_are_read_however_they_arrive(
    expected: Sequence[Expect], octets: bytes, events: Sequence[Event]
) -> None:
    """Whole, byte by byte, and in pieces that part every CRLF: the same events."""
    assert read([octets], *expected) == list(events)
    for size in (1, 2, 3, 5):
        assert read(cut(octets, size), *expected) == list(events)


@pytest.mark.parametrize(("expected", "octets", "events"), REPLIES)
def test_what_nobody_asked_for_is_never_passed_over(
    expected: Sequence[Expect], octets: bytes, events: Sequence[Event]
) -> None:
    """Trailing octets end the dialogue, whether they come with the last reply or after it."""
    for pieces in ([octets + b"+OK more\r\n"], [octets, b"+"], cut(octets + b"x", 1)):
        found, error = read_to_the_error(pieces, expected)
        assert found == list(events)
        assert "that nobody asked for" in error


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"\n",
        b"OK\r\n",
        b"+OKAY\r\n",
        b"+ \r\n",
        b"* OK IMAP4 ready\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\n",
        b"+OK " + b"x" * MAX_STATUS + b"\r\n",
        b"x" * (MAX_STATUS + 1),
    ],
)
def test_what_is_no_status_line_ends_the_dialogue(octets: bytes) -> None:
    """Whatever speaks there, it isn't POP3, or it is out of step."""
    for pieces in ([octets], cut(octets, 1)):
        with pytest.raises(DesynchronisedError):
            read(pieces, S)


def test_dots_left_unstuffed_show_in_the_next_status_line() -> None:
    """The mail ends too early for the reader; what follows is no status line, so nothing of it is believed."""
    with pytest.raises(DesynchronisedError):
        read([b"+OK\r\nbefore\r\n.\r\nafter\r\n.\r\n+OK\r\n"], B, S)


@pytest.mark.parametrize("shift", range(-8, 9))
@pytest.mark.parametrize("line", [b".\r\n", b"..\r\n", b".x\r\n", b"\r\n", b"\r\r\n", b"x\n.\r\n"])
def test_large_bodies_are_handed_on_whole(shift: int, line: bytes) -> None:
    """A dot, or what looks like an end, may lie anywhere across the edge of a chunk."""
    body = b"x" * (CHUNK + shift - 2) + b"\r\n" + line * 3 + b"y" * CHUNK + b"\r\n" + line
    octets = on_the_wire(body)
    for sizes in ((len(octets),), (CHUNK,), (CHUNK - 1, 1, 1, 1, 1), (1448,)):
        assert read(cut(octets, *sizes), B) == [OK, Chunk(body), End()]


def test_large_bodies_are_not_held_back() -> None:
    """What streams through takes no more memory than a chunk and a piece."""
    reader, held, given_out = Reader(), 0, 0
    reader.expect(B)
    for piece in cut(on_the_wire(b"x" * 76 + b"\r\n" * 40_000), 1448):
        held += len(piece)
        given_out += sum(len(event.octets) for event in reader.feed(piece) if isinstance(event, Chunk))
        assert held - given_out < CHUNK + 2 * 1448


def test_small_pieces_cost_no_more_than_their_octets() -> None:
    """Four times the octets in the same pieces take about four times the CPU: nothing is searched or moved twice."""

    def seconds(lines: int) -> float:
        octets = on_the_wire(b".dotted line\r\n" * lines)
        best = 9.0
        for _ in range(5):
            began = time.process_time()
            read(cut(octets, 512), B)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(80_000) < 12 * seconds(20_000)


BODIES: Final = (
    st.lists(
        st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"\r\n.", b"a", b"\0", b"\xff", b"+OK\r\n", b"\r\n.\r\n"]),
        max_size=40,
    )
    .map(lambda parts: b"".join(parts) + b"\r\n")
    .filter(lambda body: not body.startswith(b"+OK\r"))
)  # no mail begins so


@given(
    replies=st.lists(st.one_of(st.none(), BODIES), max_size=6),
    sizes=st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=8),
)
@settings(max_examples=400, deadline=None)
def test_the_same_events_whatever_the_pieces(replies: list[bytes | None], sizes: list[int]) -> None:
    """What a server sends by the rules comes out octet for octet."""
    octets = b"".join(b"-ERR no\r\n" if body is None else on_the_wire(body) for body in replies)
    events: list[Event] = []
    for body in replies:
        events += [Status(ok=False, text="no")] if body is None else [OK, Chunk(body), End()]
    assert read(cut(octets, *sizes), *[B] * len(replies)) == events


@given(
    octets=st.one_of(st.binary(max_size=300), BODIES.map(lambda body: b"+OK" + body)),
    sizes=st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=5),
    expected=st.lists(st.sampled_from([S, B]), max_size=4),
)
@example(octets=b"+OK", sizes=[1], expected=[])
@settings(max_examples=600, deadline=None)
def test_garbage_is_events_or_one_error(octets: bytes, sizes: list[int], expected: list[Expect]) -> None:
    """Whatever arrives, nothing but DesynchronisedError is raised, and the pieces make no difference."""
    in_pieces, whole = read_to_the_error(cut(octets, *sizes), expected), read_to_the_error([octets], expected)
    assert (in_pieces[0], bool(in_pieces[1])) == (whole[0], bool(whole[1]))


@given(st.binary(max_size=200))
def test_parsers_of_lines_take_anything(body: bytes) -> None:
    """Listings and capabilities are read as far as they can be; nothing is raised."""
    parse_sizes(body)
    parse_uidls(body)
    parse_capabilities(body)
    assert unstuffed(body.replace(b"\r\n.", b"\r\n..")) == body


def test_a_reader_that_awaits_nothing_is_idle() -> None:
    """TLS begins, and a session ends, only there."""
    reader = Reader()
    assert reader.idle
    reader.expect(B)
    assert (reader.idle, reader.pending) == (False, 1)
    list(reader.feed(b"+OK\r\nbody"))
    assert (reader.idle, reader.pending) == (False, 1)
    list(reader.feed(b"\r\n.\r\n"))
    assert (reader.idle, reader.pending) == (True, 0)


def test_a_malformed_line_harms_no_other() -> None:
    """Numbers and sizes are read where they are; a line that isn't one is left out."""
    body = b"1 120\r\n2\r\nx 5\r\n3   250  extra\r\n4 -1\r\n\r\n5 " + b"9" * 30 + b"\r\n\xff 7\r\n 6 60\r\n"
    assert parse_sizes(body) == {1: 120, 3: 250, 6: 60}


def test_uidls_are_the_octets_after_white_space() -> None:
    """Several spaces, octets outside ASCII and inner spaces are kept apart from the number; none is made up."""
    long = b"u" * MAX_UIDL
    body = b"1 a\r\n2   b\r\n3 \xff\xfe\r\n4 \r\n5\r\n6 c d \r\n7 " + long + b"\r\n8 " + long + b"u\r\nx y\r\n"
    assert parse_uidls(body) == {1: b"a", 2: b"b", 3: b"\xff\xfe", 6: b"c d", 7: long}


def test_capabilities_are_known_by_upper_case_names() -> None:
    """RFC 2449: a name, and what follows it."""
    found = parse_capabilities(b"top\r\nSASL PLAIN LOGIN\r\n\r\nEXPIRE 60\r\n")
    assert found == {"TOP": (), "SASL": ("PLAIN", "LOGIN"), "EXPIRE": ("60",)}


def test_top_is_worth_a_try_unless_capa_leaves_it_out() -> None:
    """A server without CAPA may well have it."""
    assert Capabilities({}, known=False).top
    assert not Capabilities({}, known=True).top
    assert Capabilities({"TOP": ()}, known=True).top


def test_a_command_can_not_be_ended_by_its_argument() -> None:
    """A user name with a line break would be a command of its own."""
    assert command("USER", "jos\xe9") == b"USER jos\xc3\xa9\r\n"
    for bad in ("a\r\nDELE 1", "a\nb", "a\0"):
        with pytest.raises(ValueError, match="USER: an argument holds CR, LF or NUL"):
            command("USER", bad)


@pytest.mark.parametrize(
    ("line", "result"),
    [
        (b"-ERR [AUTH] no", PollResult.AUTH),
        (b"-ERR [IN-USE] no", PollResult.IN_USE),
        (b"-ERR [LOGIN-DELAY] no", PollResult.THROTTLED),
        (b"-ERR [SYS/TEMP] no", PollResult.THROTTLED),
        (b"-ERR [SYS/PERM] no", PollResult.PROTOCOL),
        (b"-ERR [IN-USE] authentication failed", PollResult.IN_USE),
        (b"-ERR Mailbox is locked by another session", PollResult.IN_USE),
        (b"-ERR maildrop already open", PollResult.IN_USE),
        (b"-ERR Please wait 5 minutes", PollResult.THROTTLED),
        (b"-ERR Too many connections", PollResult.THROTTLED),
        (b"-ERR login limit exceeded", PollResult.THROTTLED),
        (b"-ERR temporary failure", PollResult.THROTTLED),
        (b"-ERR Authentication failed.", PollResult.AUTH),
        (b"-ERR", PollResult.AUTH),
        (b"-ERR [UNKNOWN] no", PollResult.AUTH),
    ],
)
def test_a_refused_sign_in_is_classed(line: bytes, result: PollResult) -> None:
    """By its code, else by its words: only what says neither wait nor lock is a wrong password."""
    assert refusal(parse_status(line), PollResult.AUTH) is result


@pytest.mark.parametrize("line", [b"+OK 5 octets\r\none\r\n", b"+OK\r\none\r\n", b"-ERR no\r\n", b"+OK\t1\r\n"])
def test_a_mail_that_begins_with_a_reply_is_none(line: bytes) -> None:
    """A reply too many shifts the rest: the status line would become the mail's first line, and be believed."""
    for pieces in ([on_the_wire(line)], cut(on_the_wire(line), 1)):
        assert read_to_the_error(pieces, [B]) == ([OK], "a reply inside a reply")


@pytest.mark.parametrize("body", [b"+OKAY: 1\r\n", b" +OK\r\n", b"A: b\r\n\r\n+OK 1\r\n", b"-ERROR: 1\r\n"])
def test_a_mail_that_only_mentions_a_reply_is_one(body: bytes) -> None:
    """Only a first line that is a status line is suspect."""
    assert read([on_the_wire(body)], B) == [OK, Chunk(body), End()]


@pytest.mark.parametrize(
    ("text", "secret", "shown"),
    [
        ("no", "s3cret", "no"),
        ("wrong: s3cret", "s3cret", "wrong: ***"),
        ("WRONG: S3CRET", "s3cret", "WRONG: ***"),
        ("wrong: a b", "a\tb", "wrong: ***"),
        ("x" * 197 + "s3c", "s3cret", "x" * 197),
        ("x" * 190 + "s3cret s3cre", "s3cret", "x" * 190 + "*** "),
        ("it ends in s", "s3cret", "it ends in s"),
        ("no", "", "no"),
        ("a.c", "a.c", "***"),
    ],
)
def test_a_repeated_secret_is_taken_out(text: str, secret: str, shown: str) -> None:
    """In any case of letters, as it is printed, and where the reply was cut in the middle of it."""
    assert without(text, secret) == shown


def test_a_refusal_before_the_sign_in_blames_no_password() -> None:
    """A greeting without code or known words is the server's trouble."""
    assert refusal(parse_status(b"-ERR not today"), PollResult.THROTTLED) is PollResult.THROTTLED


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"+ PDEyMz4=\r\n", Challenge(b"PDEyMz4=")),
        (b"+ \r\n", Challenge(b"")),
        (b"+\r\n", Challenge(b"")),
        (b"+ \n", Challenge(b"")),
        (b"+ =+OK\r\n", Challenge(b"=+OK")),
        (b"+OK welcome\r\n", Status(ok=True, text="welcome")),
        (b"+ok\r\n", OK),
        (b"-ERR [AUTH] no\r\n", Status(ok=False, text="[AUTH] no", code="AUTH")),
    ],
)
def test_auth_goes_on_with_a_challenge_or_ends_with_a_status(line: bytes, event: Event) -> None:
    """Whole and byte by byte; what follows belongs to nobody (RFC 5034, section 4)."""
    assert read([line], Expect.CHALLENGE) == [event]
    assert read([bytes([octet]) for octet in line], Expect.CHALLENGE) == [event]
    found, fault = read_to_the_error([line + b"+ x\r\n"], [Expect.CHALLENGE])
    assert found == [event]
    assert "nobody asked for" in fault


@pytest.mark.parametrize("form", [Expect.STATUS, Expect.BODY])
def test_a_challenge_is_no_reply_to_another_command(form: Expect) -> None:
    """Only AUTH has them."""
    found, fault = read_to_the_error([b"+ PDEyMz4=\r\n"], [form])
    assert found == []
    assert fault == "a reply that is neither +OK nor -ERR"


@pytest.mark.parametrize("line", [b"+x\r\n", b"* no\r\n", b"PDEyMz4=\r\n", b"\r\n"])
def test_what_is_neither_challenge_nor_status(line: bytes) -> None:
    """The connection is dropped, as for any command."""
    assert read_to_the_error([line], [Expect.CHALLENGE]) == ([], "a reply that is neither +OK nor -ERR")
