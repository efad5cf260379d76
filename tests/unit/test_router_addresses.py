"""The address reader: what counts, what doesn't, and that no octets can stop or slow it."""

import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import MAX_HEADER
from router import addresses
from router.addresses import Address, addresses_among, addresses_of, tokens_of
from router.headers import fields_of
from tests.unit.header_corpus import CORPUS

PIECES = [
    b"ann", b"bob@local.example", b"local.example", b"@", b"<", b">", b",", b";", b":", b"(", b")", b"[", b"]", b'"',
    b"\\", b".", b" ", b"\r\n ", b"=?utf-8?q?", b"?=", b"=?", b"\0", b"\xc3\xa4", b"\xff", b"\xe3\x80\x82", b"xn--",
    b"mailto:",
]  # fmt: skip

MAILBOXES = [
    b"ann@local.example", b"Ann Smith <ann@local.example>", b'"Smith, Ann" <a.b@local.example.>', b"<x@local.example>",
    b"=?utf-8?q?Ann,_<x@y>?= <ann@local.example>", b"'ann@local.example'", b"=?utf-8?q?ann?=@local.example", b"ann@-",
    b"a@" + b"b." * 200 + b"c", b"Ann\r\n <ann@local.example>\r", b"A. B. <c+d@local.example>",
]  # fmt: skip

FIELDS = [field.value for case in CORPUS for field in fields_of(case.header)]

FLOODS = {
    "quotes": b'"',
    "escaped quotes": b'\\"',
    "open comments": b"(",
    "closed comments": b"()",
    "brackets": b"<",
    "empty brackets": b"<>",
    "literals": b"[",
    "encoded words": b"=?",
    "half encoded words": b"=?a?q?",
    "at signs": b"@",
    "commas": b",",
    "dots with blanks": b"a . ",
    "routes": b"<@a,",
    "folds": b"a\r\n ",
    "addresses": b"a@b,",
    "words": b"a ",
    "one word": b"a",
    "umlauts": b"a@\xc3\xa4,",
    "ideographic dots": b"\xe3\x80\x82",
    "backslashes": b"\\",
    "nuls": b"\0",
}


@pytest.mark.parametrize(
    ("field", "address"),
    [
        (b'"ann"@far.example', Address("ann", "far.example")),
        (b'"a b"@far.example', Address('"a b"', "far.example")),
        (b'"a\\"\\\\b"@far.example', Address('"a\\"\\\\b"', "far.example")),
        (b'"\\a\\n\\n"@far.example', Address("ann", "far.example")),
        (b'"a".b."c d"@far.example', Address('"a.b.c d"', "far.example")),
        (b"Ann@FAR.Example.", Address("Ann", "far.example")),
        (b"ann@[IPv6:2001:DB8::1]", Address("ann", "[ipv6:2001:db8::1]")),
        ("ä@ä.example".encode(), Address("ä", "xn--4ca.example")),
    ],
)
def test_an_address_has_one_form(field: bytes, address: Address) -> None:
    """Quotes only where needed (RFC 5322, section 3.4.1), the domain lower-case in A-labels."""
    assert addresses_of(field) == [address]


@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join)))
def test_any_octets_are_read(field: bytes) -> None:
    """Never an error; what comes out has a local part and a domain that is an A-label or a literal."""
    for address in addresses_of(field):
        assert address.local
        assert address.domain
        assert address.domain.isascii()
        assert address.domain == address.domain.lower()
        assert not set(address.domain) & set(' @<>,;"()\r\n')


@given(
    st.one_of(
        st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
        st.lists(st.sampled_from([*MAILBOXES, *PIECES]), max_size=6).map(b", ".join),
        st.sampled_from(FIELDS),
    )
)
def test_the_short_way_leads_to_the_same_addresses(field: bytes) -> None:
    """Plain lists are read by one pattern: what it reads, it reads as the tokens say."""
    plain = addresses._plain(field)

    assert plain is None or plain == addresses_among(tokens_of(field))


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_a_display_name_never_counts(name: bytes) -> None:
    """Whatever stands in a quoted string before the brackets, the address in them is the only one."""
    quoted = b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    assert addresses_of(quoted + b" <x@far.example>") == [Address("x", "far.example")]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_a_comment_never_counts(text: bytes) -> None:
    """Whatever stands in a comment, the address beside it is the only one."""
    for sign in (b"\\", b"(", b")"):
        text = text.replace(sign, b"\\" + sign)

    assert addresses_of(b"x@far.example (" + text + b")") == [Address("x", "far.example")]


@given(
    st.lists(st.sampled_from(["ann@local.example", "Bob <bob@local.example>", '"C, D" <c@far.example>']), min_size=1)
)
def test_a_list_names_each_of_its_members(members: list[str]) -> None:
    """Members read alone and members read in a list are the same."""
    alone = [address for member in members for address in addresses_of(member.encode())]

    assert addresses_of(", ".join(members).encode()) == alone


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_work_grows_in_step_with_the_field(flood: bytes) -> None:
    """Four times the octets may take four times the steps, not sixteen times."""
    short, long = calls(lambda: addresses_of(flood * 500)), calls(lambda: addresses_of(flood * 2000))

    assert long <= 4 * short + 100


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_the_longest_header_is_read_in_bounded_time(flood: bytes) -> None:
    """What counting calls can't see: searches and copies inside a call. Quadratic, each would take minutes."""
    half = (flood * MAX_HEADER)[: MAX_HEADER // 2]
    began = time.process_time()

    addresses_of(half + b" <" + half)

    assert time.process_time() - began < 20


def calls(action: Callable[[], object]) -> int:
    """Return how many functions, Python's or C's, the action called."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count
