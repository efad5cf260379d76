"""The keywords of a .fetchmailrc: what each belongs to, and what follows it. As of fetchmail 6.4 and 6.5."""

from enum import Enum, auto
from typing import Final, NamedTuple


class Takes(Enum):
    """What follows a keyword."""

    NOTHING = auto()
    ONE = auto()
    MANY = auto()
    ENVELOPE = auto()  # a number, if one is there, and a text


class Of(Enum):
    """What a keyword belongs to."""

    FILE = auto()
    SERVER = auto()
    USER = auto()


class Keyword(NamedTuple):
    """A keyword, and its place in the grammar."""

    of: Of
    takes: Takes


SYNONYMS: Final = {
    "server": "poll",
    "local": "localdomains",
    "proto": "protocol",
    "port": "service",
    "auth": "authenticate",
    "preauth": "authenticate",
    "preauthenticate": "authenticate",
    "username": "user",
    "pass": "password",
    "folders": "folder",
    "smtp": "smtphost",
    "pre": "preconnect",
    "post": "postconnect",
    "pass8": "pass8bits",
    "mimedec": "mimedecode",
}

ENTRIES: Final = frozenset({"poll", "skip", "defaults", "set"})
PLACES: Final = frozenset({"is", "to", "here", "there", "user", "no"})


def _keywords(of: Of, takes: Takes, names: str) -> dict[str, Keyword]:
    return {name: Keyword(of, takes) for name in names.split()}


KEYWORDS: Final = {
    **_keywords(Of.SERVER, Takes.NOTHING, "uidl dns tracepolls"),
    **_keywords(
        Of.SERVER,
        Takes.ONE,
        "via protocol service interval authenticate timeout qvirtual principal esmtpname esmtppassword bad-header "
        "interface monitor plugin plugout checkalias retrieve-error",
    ),
    **_keywords(Of.SERVER, Takes.MANY, "aka localdomains"),
    **_keywords(Of.SERVER, Takes.ENVELOPE, "envelope"),
    **_keywords(
        Of.USER,
        Takes.NOTHING,
        "keep flush limitflush fetchall rewrite forcecr stripcr pass8bits dropstatus dropdelivered mimedecode idle "
        "forceidle ssl sslcertck lmtp",
    ),
    **_keywords(
        Of.USER,
        Takes.ONE,
        "password passwordfile passwordfd smtpaddress smtpname mda bsmtp preconnect postconnect limit warnings "
        "fetchlimit fetchsizelimit fastuidl batchlimit expunge properties sslkey sslcert sslproto sslcertfile "
        "sslcertpath sslcommonname sslfingerprint",
    ),
    **_keywords(Of.USER, Takes.MANY, "folder smtphost fetchdomains antispam"),
}

GLOBALS: Final = {
    **_keywords(Of.FILE, Takes.NOTHING, "bouncemail spambounce softbounce syslog invisible showdots"),
    **_keywords(Of.FILE, Takes.ONE, "logfile idfile pidfile daemon postmaster properties"),
}


def keyword(text: str) -> str:
    """Return the one spelling of a keyword."""
    return SYNONYMS.get(text, text)


def is_keyword(text: str) -> bool:
    """Whether a word ends a list of texts."""
    name = keyword(text)
    return name in KEYWORDS or name in ENTRIES or name in PLACES or keyword(name.removeprefix("no")) in KEYWORDS
