"""Header blocks and whom they name: one case a form that RFC 5322 allows, or that real mail has.

The local domains are local.example, second.example and münchen.example. Cases give users of local.example by their bare
name; no user at all means the fallback.
"""

# ruff: noqa: E501 (a case a line reads as a table)

from typing import Final, NamedTuple

from common.messages import RoutingPolicy

POLICY: Final = RoutingPolicy(
    distribute=True,
    local_domains=("local.example", "second.example", "xn--mnchen-3ya.example"),
    fallback="postmaster@local.example",
)


class Case(NamedTuple):
    """A header block, and the users it names in order of first mention."""

    source: str  # the rule or the RFC's section
    header: bytes
    users: str

    @property
    def addresses(self) -> tuple[str, ...]:
        """The recipients' addresses; none means the fallback."""
        return tuple(user if "@" in user else f"{user}@local.example" for user in self.users.split())


def _to(value: str | bytes) -> bytes:
    return b"To: " + (value.encode() if isinstance(value, str) else value) + b"\r\n\r\n"


CORPUS: Final = (
    # The rule
    Case("one in To", _to("ann@local.example"), "ann"),
    Case("several in To, in their order", _to("carol@local.example, ann@local.example,bob@local.example"), "carol ann bob"),
    Case("To and Cc", b"Cc: bob@local.example\r\nTo: ann@local.example\r\n\r\n", "bob ann"),
    Case("other domains are ignored", _to("x@far.example, ann@local.example, y@local.example.far.example"), "ann"),
    Case("a subdomain is another domain", _to("ann@mail.local.example"), ""),
    Case("a longer domain is another domain", _to("ann@notlocal.example, bob@local.example.org"), ""),
    Case("nobody is local", _to("x@far.example"), ""),
    Case("no To, no Cc", b"From: ann@local.example\r\nSubject: bob@local.example\r\n\r\n", ""),
    Case("Bcc, Reply-To, Resent-To name nobody", b"Bcc: ann@local.example\r\nReply-To: bob@local.example\r\nResent-To: ann@local.example\r\n\r\n", ""),
    Case("lower-case, merged", _to("ANN@Local.Example, ann@local.example, Ann <aNN@LOCAL.EXAMPLE>"), "ann"),
    Case("two local domains", _to("ann@second.example, ann@local.example"), "ann@second.example ann"),
    Case("a user without a domain", _to("ann"), ""),
    Case("an empty field", b"To:\r\nCc: \r\n\r\n", ""),
    # The header block
    Case("several To fields", b"To: ann@local.example\r\nSubject: x\r\nTo: bob@local.example\r\n\r\n", "ann bob"),
    Case("bare LF", b"To: ann@local.example,\n bob@local.example\n\nTo: carol@local.example\n", "ann bob"),
    Case("CR CR LF", b"To: ann@local.example\r\r\n\r\r\nTo: carol@local.example\r\r\n", "ann"),
    Case("To in the body", b"Subject: x\r\n\r\nTo: ann@local.example\r\n", ""),
    Case("no header at all", b"\r\nTo: ann@local.example\r\n\r\n", ""),
    Case("an indented body after the empty line", b"To: x@far.example,\r\n\r\n ann@local.example\r\n", ""),
    Case("a header without end", b"Subject: x\r\nTo: ann@local.example", "ann"),
    Case("an mbox line first", b"From ann@far.example Mon Jan  5 10:00:00 2026\r\nTo: bob@local.example\r\n\r\n", "bob"),
    Case("blanks before the colon: RFC 5322, 4.5", b"To : ann@local.example\r\nCC\t: bob@local.example\r\n\r\n", "ann bob"),
    Case("any case of the name", b"tO: ann@local.example\r\ncC: bob@local.example\r\n\r\n", "ann bob"),
    Case("garbage is contained", b"To: ann@local.example\r\nwhat is this\r\n\tcarol@local.example\r\nCc: bob@local.example\r\n\r\n", "ann bob"),
    Case("a name with blanks is garbage", b"Not To: ann@local.example\r\nCc: bob@local.example\r\n\r\n", "bob"),
    Case("a binary line is contained", b"\xff\x00\x80: x\r\nTo: ann@local.example\r\n\r\n", "ann"),
    Case("a header that begins folded", b" To: ann@local.example\r\nCc: bob@local.example\r\n\r\n", "bob"),
    Case("a line of blanks is folding: RFC 5322, 4.2", b"To: ann@local.example,\r\n \t\r\n bob@local.example\r\n\r\n", "ann bob"),
    # Names and brackets
    Case("an atom as name", _to("Ann Smith <ann@local.example>"), "ann"),
    Case("a quoted name with a comma", _to('"Smith, Ann" <ann@local.example>'), "ann"),
    Case("a quoted name with escapes", _to(r'"Ann \"the \\ cat\" Smith" <ann@local.example>'), "ann"),
    Case("a comma without quotes", _to("Smith, Ann <ann@local.example>"), "ann"),
    Case("an obsolete name with dots: RFC 5322, 4.1", _to("Ann B. Smith Jr. <ann@local.example>"), "ann"),
    Case("no name", _to("<ann@local.example>"), "ann"),
    Case("blanks in brackets", _to("Ann < ann@local.example\t>"), "ann"),
    Case("two brackets", _to("<<ann@local.example>>"), "ann"),
    Case("a missing >", _to("Ann <ann@local.example"), "ann"),
    Case("a missing > before a comma", _to("Ann <ann@local.example, Bob <bob@local.example>"), "ann bob"),
    Case("a missing comma between brackets", _to("Ann <ann@local.example> Bob <bob@local.example>"), "ann bob"),
    Case("a missing comma between bare addresses", _to("ann@local.example bob@local.example"), "ann bob"),
    Case("a name without brackets", _to("Ann Smith ann@local.example"), "ann"),
    Case("semicolons as separators", _to("ann@local.example; Bob <bob@local.example>;"), "ann bob"),
    Case("empty list members: RFC 5322, 4.4", _to(",, ann@local.example , ,bob@local.example,"), "ann bob"),
    Case("a URL", _to("mailto:ann@local.example, <mailto:bob@local.example>"), "ann bob"),
    # Only the address counts
    Case("a quoted name that is an address", _to('"ann@local.example" <x@far.example>'), ""),
    Case("a bare name that is an address", _to("ann@local.example <x@far.example>"), ""),
    Case("a quoted name that is a bracketed address", _to('"Ann <ann@local.example>" <bob@local.example>'), "bob"),
    Case("an address after the brackets", _to("<x@far.example> ann@local.example"), ""),
    Case("a comment that is an address", _to("x@far.example (ann@local.example)"), ""),
    Case("a comment that hides a bracket: CVE-2023-27043", _to("ann@local.example(<x@far.example>"), ""),
    Case("a stray parenthesis: CVE-2023-27043", _to("ann@local.example)bob@local.example"), ""),
    Case("two addresses in one", _to("ann@local.example@far.example, bob@far.example@local.example"), ""),
    Case("a quoted string alone", _to('"ann@local.example"'), ""),
    # Comments
    Case("the old form of a name", _to("ann@local.example (Ann Smith)"), "ann"),
    Case("nested comments", _to(r"ann@local.example (a (b, <bob@local.example> (c\)) ) d), carol@local.example"), "ann carol"),
    Case("comments in the address: RFC 5322, A.5", _to("Pete(A nice \\) chap) <ann(his account)@(the)local.example(his host)>"), "ann"),
    Case("an unclosed comment", _to("Ann (work <ann@local.example>"), "ann"),
    Case("a quote in a comment", _to('ann@local.example (6" tall), bob@local.example'), "ann bob"),
    # Groups
    Case("a group: RFC 5322, 3.4", _to("Team: ann@local.example, Bob <bob@local.example>; carol@local.example"), "ann bob carol"),
    Case("an empty group", _to("undisclosed-recipients:;"), ""),
    Case("a quoted group name", _to('"ann@local.example": bob@local.example;'), "bob"),
    Case("a group without end", _to("Team: ann@local.example, bob@local.example"), "ann bob"),
    Case("two groups", _to("A: ann@local.example;, B: bob@local.example;"), "ann bob"),
    # Local parts
    Case("a quoted local part that needs no quotes", _to('"ann"@local.example, "Bob.Smith"@local.example'), "ann bob.smith"),
    Case("a quoted piece of a local part: RFC 5322, 4.4", _to('"bob".smith@local.example'), "bob.smith"),
    Case("plus, equals and other atoms", _to("ann+lists@local.example, o'neil=x_y@local.example"), "ann+lists o'neil=x_y"),
    Case("a local part with blanks", _to('"ann smith"@local.example'), ""),
    Case("a local part that holds @", _to('"x@far.example"@local.example'), ""),
    Case("a local part that is a path", _to('"../../etc/passwd"@local.example, a/b@local.example, ..@local.example'), ""),
    Case("a local part that is sent on", _to("x%far.example@local.example, far.example!x@local.example"), ""),
    Case("a local part that is an option", _to("-oQ@local.example"), ""),
    Case("dots at the edges", _to("ann.@local.example, .ann@local.example, a..n@local.example"), ""),
    Case("an empty local part", _to('@local.example, ""@local.example, <@local.example>'), ""),
    Case("a local part over 64 octets", _to("a" * 65 + "@local.example, " + "b" * 64 + "@local.example"), "b" * 64),
    Case("control characters", _to(b'a\0nn@local.example, "a\x07nn"@local.example, <b\x1bob@local.example>'), ""),
    # Domains
    Case("an A-label", _to("ann@XN--MNCHEN-3YA.example"), "ann@xn--mnchen-3ya.example"),
    Case("a U-label: RFC 6532", _to("ann@München.example"), "ann@xn--mnchen-3ya.example"),
    Case("a U-label, decomposed", _to("ann@mu\u0308nchen.example"), "ann@xn--mnchen-3ya.example"),
    Case("a trailing dot", _to("ann@local.example., Bob <bob@local.example.>"), "ann bob"),
    Case("a domain literal", _to("ann@[127.0.0.1], ann@[local.example], bob@local.example"), "bob"),
    Case("a domain that is none", _to("ann@-.example, ann@..., ann@" + "x" * 3000 + ", bob@local.example"), "bob"),
    # Obsolete forms
    Case("a route: RFC 5322, 4.4", _to("<@a.example,@b.example:ann@local.example>, bob@local.example"), "ann bob"),
    Case("a route that is local", _to("<@local.example:x@far.example>"), ""),
    Case("blanks around dots and @", _to("ann . smith @ local\t.\texample, <bob @ local . example>"), "ann.smith bob"),
    Case("folded mid-address", b"To: Ann\r\n <ann@local\r\n\t.example>, bob\r\n @local.example\r\n\r\n", "ann bob"),
    Case("folded mid-word", b"To: Ann <ann@loc\r\n al.example>\r\n\r\n", "ann"),
    # Encoded words and raw octets
    Case("an encoded name", _to("=?utf-8?Q?Ann_M=C3=BCller?= <ann@local.example>"), "ann"),
    Case("an encoded comma: RFC 2047, 5", _to("=?utf-8?Q?Smith=2C?= =?utf-8?b?QW5u?= <ann@local.example>"), "ann"),
    Case("an encoded name with a raw comma and address", _to("=?utf-8?q?Smith,_Ann_<bob@local.example>?= <ann@local.example>"), "ann"),
    Case("an encoded word with blanks", _to("=?iso-8859-1?Q?Smith, bob@local.example?= <ann@local.example>"), "ann"),
    Case("an encoded address", _to("=?utf-8?Q?ann@local.example?=, =?utf-8?b?YW5uQGxvY2FsLmV4YW1wbGU=?="), ""),
    Case("an encoded local part", _to("=?utf-8?q?ann?=@local.example"), ""),
    Case("an encoded word touches the bracket", _to("=?utf-8?q?Ann?=<ann@local.example>"), "ann"),
    Case("a name in raw UTF-8: RFC 6532", _to("Änn Müller <ann@local.example>"), "ann"),
    Case("a name in Latin-1", _to(b"M\xfcller <ann@local.example>"), "ann"),
    Case("a local part in UTF-8", _to("Jürgen@local.example, JU\u0308RGEN@local.example"), "jürgen"),
    Case("a local part in Latin-1", _to(b"m\xfcller@local.example, bob@local.example"), "bob"),
    Case("an invisible character", _to("a\u202enn@local.example, b\u200bob@local.example"), ""),
    # Broken quotes
    Case("a quote that is not closed", _to('"Ann Smith <ann@local.example>, bob@local.example'), "ann bob"),
    Case("a stray quote", _to('Ann" <ann@local.example>'), "ann"),
)  # fmt: skip
