"""The addresses of one header field (RFC 5322, section 3.4, with its obsolete forms, and RFC 6532), read tolerantly.

Pure: bytes in, values out; never raises, in time linear in the field's length. Only the address counts: what stands in
a display name, a comment, a quoted string or an encoded word is never one, however much it looks like it. What can't be
read is no address.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from common.addresses import a_label

MAX_DOMAIN_OCTETS: Final = 1020
"""What is read as a domain: four octets of UTF-8 for each of the 255 that one may have. Bounds the work of IDNA."""


class Address(NamedTuple):
    """An address as a field holds it."""

    local: str  # as written; in quotes only where it can't be without
    domain: str  # lower-case A-labels, or a domain literal in its brackets


class Token(NamedTuple):
    """A piece of a field's value; what stood in a gap before it, a comment too, is gone."""

    kind: bytes  # one of the four below, or the octet itself: "@", ",", "<" and what else there may be
    text: bytes
    folded: bool  # a line end stands in the gap before it


WORD: Final = b"word"  # atoms and dots; the dots are looked at later
_QUOTED: Final = b"quoted"  # the inside of a quoted string
_LITERAL: Final = b"literal"
_ENCODED: Final = b"encoded"  # RFC 2047: may hold anything, names nobody
_LOCAL: Final = (WORD, _QUOTED)
_SEPARATORS: Final = (b",", b";")
_READABLE: Final = frozenset((_ENCODED, WORD, _LITERAL, _QUOTED, b"@"))

_ATOM: Final = rb"\w!#$%&'*+\-/=?^`{|}~\x80-\xff"
_GAP: Final = rb"([ \t\r\n]*+)"
_NAMES: Final = rb"(=\?[\w.+*:'\-]*+\?[bBqQ]\?[^?\r\n]*+\?=)|([" + _ATOM + rb".]++)|(\[[^\[\]\\]*+\])"
_KINDS: Final = (b"", b"", _ENCODED, WORD, _LITERAL, _QUOTED)  # by the groups of a token
_TOKEN: Final = re.compile(_GAP + b"(?:" + _NAMES + rb'|"((?:[^"\\]++|\\.)*+)"|.)', re.DOTALL)
_TOKEN_UNQUOTED: Final = re.compile(_GAP + b"(?:" + _NAMES + rb"|.)", re.DOTALL)
_PLAIN: Final = re.compile(
    rb"[ \t\r\n]*+(?:"
    rb"(?:(?:=\?[\w.+*:'\-]*+\?[bBqQ]\?[^?\r\n]*+\?=|[" + _ATOM + rb'.]++|"[^"\\]*+")[ \t\r\n]*+)*+'
    rb"<((?!'|=\?)[\w!#$%&'*+\-/=?^`{|}~.]++)@([A-Za-z0-9_.\-]++)>"
    rb"|((?!'|=\?)[\w!#$%&'*+\-/=?^`{|}~.]++)@([A-Za-z0-9_.\-]++)"
    rb")[ \t\r\n]*+(,|\Z)"
)
"""A mailbox as nearly all are: its tokens are the same as below, and nothing in it needs a second look."""

_PAIR_OR_FOLD: Final = re.compile(rb"\\(.)|\r?\n", re.DOTALL)
_COMMENT_PART: Final = re.compile(rb"\\.|[()]", re.DOTALL)
_DEPTH: Final = {b"(": 1, b")": -1}
_DOT_ATOM: Final = re.compile(rb"[" + _ATOM + rb"]++(?:\.[" + _ATOM + rb"]++)*+")
_DOMAIN_LITERAL: Final = re.compile(rb"\[[!-~]+\]")


def addresses_of(value: bytes) -> list[Address]:
    """Return the addresses that a field's value names, in order, duplicates included."""
    plain = _plain(value)
    return addresses_among(tokens_of(value)) if plain is None else plain


def _plain(value: bytes) -> list[Address] | None:
    """Return the addresses of a list of plain mailboxes, at a fifth of the cost; None for any other value."""
    found: list[Address] = []
    position, more = 0, b","
    while more:
        match = _PLAIN.match(value, position)
        if match is None:
            return None
        in_angle, its_domain, bare, domain, more = match.groups()
        label = _label(its_domain or domain)
        if label is not None:
            found.append(Address((in_angle or bare).decode("ascii"), label))
        position = match.end()
    return found


def addresses_among(tokens: Iterable[Token]) -> list[Address]:
    """Return the addresses that these tokens of a value name."""
    found: list[Address] = []
    for piece, in_angle in _pieces(tokens):
        found += _read(piece, in_angle=in_angle)
    return found


def tokens_of(value: bytes) -> Iterator[Token]:
    """Yield the tokens; white space and comments are gaps.

    A quote or parenthesis that nothing closes stands for itself, and so do all after it: a field full of them would
    otherwise be searched to its end once for each.
    """
    position, folded, comments, pattern = 0, False, True, _TOKEN
    while match := pattern.match(value, position):
        kind = _KINDS[match.lastindex or 0]
        position = match.end()
        folded = folded or b"\n" in match[1]
        if match.lastindex == 1:  # a single octet
            kind = value[position - 1 : position]
            if kind == b"(" and comments:
                end = _end_of_comment(value, position - 1)
                comments, position = end is not None, end or position
                if comments:
                    continue
            elif kind == b'"':
                pattern = _TOKEN_UNQUOTED
        yield Token(kind, match[match.lastindex or 0], folded)
        folded = False


def _end_of_comment(value: bytes, start: int) -> int | None:
    """Return where the comment ends; they nest (RFC 5322, section 3.2.2), and a counter nests without end."""
    depth = 0
    for part in _COMMENT_PART.finditer(value, start):
        depth += _DEPTH.get(part[0], 0)
        if depth == 0:
            return part.end()
    return None


def _pieces(tokens: Iterable[Token]) -> Iterator[tuple[list[Token], bool]]:
    """Yield what may be an address, and whether it stood in angle brackets, where no display name can be.

    A missing ">" ends where the next address begins. What stands beside an address in brackets is its display name.
    """
    piece: list[Token] = []
    in_angle = named = False  # named: brackets were seen since the last separator
    for token in tokens:
        kind = token.kind
        if kind == b"<":
            if in_angle:
                yield piece, True
            piece, in_angle, named = [], True, True
        elif kind == b">":
            if in_angle or not named:  # without its "<", it ends what stands before it
                yield piece, in_angle
            piece, in_angle, named = [], False, True
        elif kind == b":" and (not in_angle or _is_prefix(piece)):
            piece, named = [], in_angle  # a group's name, or a route
        elif kind in _SEPARATORS and not (kind == b"," and in_angle and _is_route(piece)):
            if in_angle or not named:
                yield piece, in_angle
            piece, in_angle, named = [], False, False
        else:
            piece.append(token)
    if in_angle or not named:
        yield piece, in_angle


def _is_route(piece: list[Token]) -> bool:
    """Whether this begins as <@one.example,@two.example:user@domain> does (RFC 5322, section 4.4)."""
    return bool(piece) and piece[0].kind == b"@"


def _is_prefix(piece: list[Token]) -> bool:
    return _is_route(piece) or (len(piece) == 1 and piece[0].text.lower() == b"mailto")


def _read(piece: list[Token], *, in_angle: bool) -> list[Address]:
    """Return the address in brackets, or those of a bare piece, where words before "local@domain" count for nothing."""
    runs = _runs(piece, in_angle=in_angle)
    kinds = [run[0].kind for run in runs]
    if not _READABLE.issuperset(kinds) or (in_angle and len(runs) != len("l@d")):
        return []
    found: list[Address] = []
    for at, kind in enumerate(kinds):
        if kind != b"@":
            continue
        if at == 0 or at + 1 == len(runs) or b"@" in kinds[at + 2 : at + 3]:
            return []  # "a@b@c" may mean anything: to believe its last part would be to relay
        address = _address(runs[at - 1], runs[at + 1])
        if address is None:
            return []
        found.append(address)
    return found


def _address(before: list[Token], after: list[Token]) -> Address | None:
    """Return the address on both sides of an "@". Outlook puts single quotes around whole ones: 'ann@far.example'."""
    if before[0].kind == after[0].kind == WORD and before[0].text[:1] == after[-1].text[-1:] == b"'":
        before = [before[0]._replace(text=before[0].text[1:]), *before[1:]]
        after = [*after[:-1], after[-1]._replace(text=after[-1].text[:-1])]
    local, domain = _local_part(before), _domain(after)
    return Address(local, domain) if local and domain else None


def _runs(piece: list[Token], *, in_angle: bool) -> list[list[Token]]:
    """Group the tokens that are one local part or domain: white space may stand around dots (RFC 5322, section 4.4)."""
    runs: list[list[Token]] = []
    for token in piece:
        if runs and token.kind in _LOCAL and _joins(runs[-1][-1], token, in_angle=in_angle):
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs


def _joins(left: Token, right: Token, *, in_angle: bool) -> bool:
    """Whether a word or quoted string belongs to what stands before it."""
    if left.kind not in _LOCAL:
        return False
    if left.kind == WORD and left.text.endswith(b"."):
        return True
    if right.kind == WORD and right.text.startswith(b"."):
        return True
    return in_angle and right.folded and left.kind == right.kind  # a program that folds anywhere cut a word in two


def _local_part(run: list[Token]) -> str | None:
    """Return a local part without its quotes where it can do without: "ann"@x and ann@x are one."""
    if run[0].kind not in _LOCAL:
        return None
    content = b"".join([_PAIR_OR_FOLD.sub(rb"\1", text) if kind == _QUOTED else text for kind, text, _ in run])
    if _QUOTED in [token.kind for token in run] and _DOT_ATOM.fullmatch(content) is None:
        content = b'"' + content.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _domain(run: list[Token]) -> str | None:
    text = b"".join([token.text for token in run])
    if run[0].kind == _LITERAL:
        return text.decode().lower() if _DOMAIN_LITERAL.fullmatch(text) else None
    if any(token.kind != WORD for token in run):
        return None
    return _label(text.partition(b"?")[0])  # mailto:ann@far.example?subject=…


def _label(text: bytes) -> str | None:
    return None if len(text) > MAX_DOMAIN_OCTETS else _known_label(text)


@lru_cache(maxsize=1024)
def _known_label(text: bytes) -> str | None:
    """Return a domain's A-labels; None for what is no domain. The same few hundred are in most mail."""
    try:
        return a_label(text.decode())
    except ValueError:
        return None
