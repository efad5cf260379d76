"""The sample of `make demo`: 25 mails in the catch-all mailbox of example.com, and who must get each, and why.

The local users are ann, bob, carol and, for mail that names none of them, postmaster.
"""

from typing import Final

from tests.mails import DOMAIN, FALLBACK, Sample, filling, mail

LOCAL_USERS: Final = ("ann", "bob", "carol", "postmaster")

_ATTACHED: Final = (
    b"--=_b\r\nContent-Type: message/rfc822\r\n\r\nTo: ann@example.com\r\nSubject: inner\r\n\r\ninner\r\n--=_b--\r\n"
)

_FIELDS: Final[tuple[tuple[str, str, str], ...]] = (
    ("one user in To", "To: ann@example.com\r\n", "ann"),
    ("one user in Cc", "To: sales@far.example\r\nCc: Bob <bob@example.com>\r\n", "bob"),
    ("one in To, one in Cc", "To: ann@example.com\r\nCc: bob@example.com\r\n", "ann bob"),
    ("several in To", "To: ann@example.com, Bob <bob@example.com>, carol@example.com\r\n", "ann bob carol"),
    ("the same user in To and Cc", "To: carol@example.com\r\nCc: Carol <carol@example.com>\r\n", "carol"),
    ("local and other domains mixed", "To: x@far.example, ann@example.com\r\nCc: y@near.example\r\n", "ann"),
    ("other domains only", "To: x@far.example\r\nCc: y@near.example\r\n", ""),
    ("a group", "To: Team: ann@example.com, Bob <bob@example.com>;\r\n", "ann bob"),
    ("an empty group", "To: undisclosed-recipients:;\r\n", ""),
    (
        "encoded words with commas and an address",
        "To: =?utf-8?q?M=C3=BCller=2C_Ann_=3Cbob=40example=2Ecom=3E?= <ann@example.com>\r\n",
        "ann",
    ),
    ("a mailing list", "To: gardeners@lists.example\r\nList-Id: <gardeners.lists.example>\r\n", ""),
    ("a blind copy", "To: x@far.example\r\nBcc: carol@example.com\r\n", ""),
    ("no To and no Cc", "", ""),
    ("upper case", "To: BOB@EXAMPLE.COM\r\n", "bob"),
    ("a display name that looks like a local address", 'To: "bob@example.com" <x@far.example>\r\n', ""),
    ("a folded To", "To: Ann\r\n\t<ann@example.com>,\r\n carol@example.com\r\n", "ann carol"),
    ("two To fields", "To: bob@example.com\r\nTo: carol@example.com\r\n", "bob carol"),
    ("a comment that holds an address", "To: carol@example.com (not <ann@example.com>, she said)\r\n", "carol"),
    ("a name in raw UTF-8", "To: Änn Müller <ann@example.com>\r\n", "ann"),
    ("domains that only look local", "To: ann@mail.example.com, bob@example.com.far.example\r\n", ""),
    ("a quoted name with comma and semicolon", 'To: "Smith, Bob; Jr." <bob@example.com>\r\n', "bob"),
)
"""Label, fields, and the local users that they name."""


def demo_mails() -> list[Sample]:
    """Return the 25 mails, each with its label and its recipients by the default rule."""
    named = [_sample(label, fields, users) for label, fields, users in _FIELDS]
    mime = 'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_b"\r\n'
    return [
        *named,
        _sample("To in an attached mail", "To: x@far.example\r\n" + mime, "", body=_ATTACHED),
        _sample("100 kB", "To: carol@example.com\r\nCc: ann@example.com\r\n", "ann carol", body=filling(100_000)),
        _sample("8-bit, dots, a long line, no end", "To: bob@example.com\r\n", "bob", body=_ROUGH),
        Sample(label="no header at all", raw=b"\r\nTo: ann@example.com\r\n\r\nonly a body\r\n", recipients=_users("")),
    ]


_ROUGH: Final = b"caf\xe9\r\n.\r\n..\r\n.dot\r\n" + b"x" * 5_000 + b"\r\nthe end"


def _sample(label: str, fields: str, users: str, *, body: bytes = b"Good morning.\r\n") -> Sample:
    name = label.lower().translate({ord(sign): "-" for sign in " ,."})
    raw = mail(to=None, subject=label, message_id=f"<{name}@sample.example>", extra=fields, body=body)
    return Sample(label=label, raw=raw, recipients=_users(users))


def _users(users: str) -> tuple[str, ...]:
    return tuple(f"{user}@{DOMAIN}" for user in users.split() or [FALLBACK])
