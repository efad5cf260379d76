"""One profile: the settings of one remote mailbox and its local side. The one home of every `[[profile]]` key.

Pure values; no file, network or clock. `common/config.py` reads them from pps.toml, the ledger keeps them as JSON.
"""

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, model_validator

from common.addresses import a_label, local_user
from common.hours import Window, parse_window, parse_zone
from common.key_form import PART, WHOLE, Form
from common.measures import SECONDS, parse_duration, parse_size
from common.oauth_keys import OAuthKeys
from common.routing_keys import RoutingKeys
from common.routing_policy import MAX_NAMES, RoutingPolicy
from common.secrets import KINDS
from common.server import Server, parse_server
from common.server_keys import Password, ServerKeys

SHORTEST_INTERVAL: Final = 10
"""Seconds: below that, servers answer with [LOGIN-DELAY] or worse."""

LONGEST_INTERVAL: Final = 7 * 86400
"""Seconds: mail that waits longer than a week is better not collected than forgotten."""

LONGEST_KEEP: Final = 3650 * 86400
"""Seconds: ten years; who wants longer means always."""

GMAIL_RECENT: Final = "recent:"
"""Before a Gmail account's name: the mail of the last 30 days, whoever retrieved it before."""

MOST_MAILS: Final = 100_000
MOST_OCTETS: Final = 1000**4
MAX_WINDOWS: Final = 32

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


def _interval(value: object) -> int:
    seconds = parse_duration(value)
    if not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
        raise ValueError(f"{value} is not between {SHORTEST_INTERVAL}s and {LONGEST_INTERVAL // SECONDS['d']}d")
    return seconds


def _keep(value: object) -> object:
    if isinstance(value, bool):
        return value
    try:
        seconds = parse_duration(value)
    except ValueError:
        raise ValueError(f'{value!r} is not true, false, or a time such as "14d"') from None
    if not 0 < seconds <= LONGEST_KEEP:
        raise ValueError(f"{value!r} is not between 1s and {LONGEST_KEEP // SECONDS['d']}d: true keeps mail always")
    return seconds


def _size(value: object) -> object:
    octets = parse_size(value)
    if not 0 < octets <= MOST_OCTETS:
        raise ValueError(f"{value!r} is not between 1B and 1000GB")
    return octets


def _hours(value: object) -> object:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError('write it as a list of hours: ["mon-fri 08:00-18:00"]')  # noqa: TRY004 (pydantic reads ValueError)
    for text in value:
        parse_window(text)
    return tuple(value)


def _domains(value: object) -> object:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError('write it as a list of domains: ["example.com"]')
    return tuple(dict.fromkeys(a_label(item) for item in value))


def _name(value: object) -> object:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise ValueError("a name is letters, digits and dashes, at most 64")
    return value


def _local_user(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("write it as a user or user@domain")  # noqa: TRY004 (pydantic reads ValueError)
    return local_user(value)


class Tls(StrEnum):
    """How a session is encrypted."""

    AUTO = "auto"  # as the port says; plain ports by STLS, refused without it unless on loopback
    IMPLICIT = "implicit"  # TLS from the first byte
    STARTTLS = "starttls"  # STLS or nothing
    NONE = "none"  # cleartext, on the administrator's word


class Auth(StrEnum):
    """How the fetcher signs in."""

    AUTO = "auto"  # USER and PASS; where others may listen, the strongest mechanism that the server offers
    PASSWORD = "password"  # USER and PASS  # noqa: S105 (a mechanism)
    APOP = "apop"
    PLAIN = "plain"
    LOGIN = "login"
    CRAM_MD5 = "cram-md5"
    SCRAM_SHA_1 = "scram-sha-1"
    SCRAM_SHA_256 = "scram-sha-256"
    XOAUTH2 = "xoauth2"  # the secret is an OAuth 2 access token
    OAUTHBEARER = "oauthbearer"  # the same, in the standard's form


BEARER: Final = (Auth.AUTO, Auth.XOAUTH2, Auth.OAUTHBEARER)
"""Ways to sign in with an access token that we get ourselves."""


class Custody(StrEnum):
    """Which copy of a fetched mail is the durable one until every recipient has it."""

    AUTO = "auto"  # as "remote", until the server is seen to hide mail; "blob" for Gmail
    REMOTE = "remote"  # the server keeps it until DELE
    BLOB = "blob"  # the server may hide or delete it on RETR: every mail is made a blob at once


class NewUidls(StrEnum):
    """What to do when many mails come under new UIDLs whose content is known: the server has renumbered its mailbox."""

    PAUSE = "pause"  # stop, and say so
    ADOPT = "adopt"  # they are the mails that are known, under new names
    FETCH = "fetch"  # they are new mails, and are delivered again


class Order(StrEnum):
    """Which mail of a mailbox is fetched first."""

    OLDEST = "oldest"  # as it is listed
    NEWEST = "newest"  # the other way round


Name = Annotated[str, BeforeValidator(_name), Form("name", "letters, digits and dashes, at most 64")]
ServerField = Annotated[
    Server,
    BeforeValidator(parse_server),
    PlainSerializer(str, return_type=str),
    Form('"HOST PORT", "HOST PORTs", or a URL', "pop3://HOST[:PORT], pop3s://HOST[:PORT]"),
]
Interval = Annotated[int, BeforeValidator(_interval), Form("time", "10s to 7d")]
Keep = Annotated[bool | int, BeforeValidator(_keep), Form("true, false, or a time")]
Size = Annotated[int, BeforeValidator(_size), Form("size", "500kB, 50MB, 1GiB")]
Hours = Annotated[tuple[str, ...], BeforeValidator(_hours), Form("list of hours", '"mon-fri 08:00-18:00"')]
TimeZone = Annotated[str, BeforeValidator(parse_zone), Form("time zone", "Europe/Berlin")]
Domains = Annotated[tuple[str, ...], BeforeValidator(_domains), Form("list of domains")]
LocalUser = Annotated[str, BeforeValidator(_local_user), Form("user, or user@domain")]


PROFILE_FILES: Final = ("ca", "client_cert", "client_key")
PROFILE_SECRETS: Final = ("password", "proxy_password", "oauth_client_secret")
"""Keys that hold paths, and references that may."""


class MailboxKeys(BaseModel):
    """Where the mailbox is, how it is polled, and whose it is."""

    model_config = PART

    name: Name = Field(description="What this profile is called in commands, tables and the log.")
    server: ServerField = Field(description='Where the mailbox is: "HOST PORT", or "HOST PORTs" with TLS at once.')
    user: str = Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+$", description="The account's name.")
    password: Password | None = Field(
        default=None,
        description='Where the password is found; "stored": typed (`pps profile password NAME`), and kept encrypted.',
    )
    auth: Auth = Field(default=Auth.AUTO, description="How to sign in; auto takes what is safe there.")
    local_user: LocalUser = Field(description="Who gets mail that names no local user; without distribute, all of it.")
    local_domain: Domains = Field(default=(), max_length=MAX_NAMES, description="The domains whose users are local.")
    distribute: bool = Field(default=False, strict=True, description="Distribute to local users by To and Cc.")
    same_users: bool = Field(default=False, strict=True, description="All local domains have the users of the first.")
    interval: Interval = Field(default=600, description="Time from one poll to the next.")
    target: Name = Field(default="local", description="The target that takes this mail: a [target.NAME] section.")
    enabled: bool = Field(default=True, strict=True, description="Whether the mailbox is polled.")
    tls: Tls = Field(default=Tls.AUTO, description="auto, implicit, starttls or none.")
    ca: str | None = Field(default=None, description="A file of certificates to trust instead of the system's.")
    keep: Keep = Field(default=False, description='Leave delivered mail on the server: always, or for a time ("14d").')
    order: Order = Field(default=Order.OLDEST, description="Which mail is fetched first: the oldest or the newest.")
    max_size: Size | None = Field(default=None, description="Larger mail is not fetched: it is skipped, and stays.")
    max_mails: int | None = Field(
        default=None, strict=True, ge=1, le=MOST_MAILS, description="Most mails fetched in a poll; the next goes on."
    )
    max_octets: Size | None = Field(
        default=None, description="Most octets fetched in a poll, but one mail in any case."
    )
    hours: Hours = Field(default=(), max_length=MAX_WINDOWS, description="When the mailbox is polled; always if empty.")
    time_zone: TimeZone | None = Field(default=None, description="Of hours; without it, the fetcher's machine's own.")
    custody: Custody = Field(
        default=Custody.AUTO, description='"blob" where the server hides mail once retrieved; "auto" finds that out.'
    )
    new_uidls: NewUidls = Field(
        default=NewUidls.PAUSE, description="When a server gives many known mails new UIDLs: pause, adopt or fetch."
    )


class Profile(RoutingKeys, OAuthKeys, ServerKeys, MailboxKeys):  # in tables and complaints, keys of the last come first
    """The settings of one remote mailbox and its local side."""

    model_config = WHOLE

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.distribute and not self.local_domain:
            raise ValueError("distribute = true needs local_domain, the domains to distribute to")
        if self.same_users and not self.local_domain:
            raise ValueError("same_users = true needs local_domain")
        if self.server.implicit_tls and self.tls in {Tls.STARTTLS, Tls.NONE}:
            raise ValueError(f'tls = "{self.tls}" contradicts server = "{self.server}": drop the s after the port')
        if self.tls is Tls.NONE and (self.fingerprint or self.client_cert):
            raise ValueError('tls = "none" has no certificates: drop fingerprint and client_cert')
        self._check_sign_in()
        _ = self.policy  # raises where its keys contradict each other
        return self

    def _check_sign_in(self) -> None:
        if self.oauth is None:
            if self.password is None:
                raise ValueError(f"password is missing: where it is found: {KINDS}")
        elif self.password is not None:
            raise ValueError(f'password contradicts oauth = "{self.oauth}": drop one')
        elif self.auth not in BEARER:
            raise ValueError(f'auth = "{self.auth}" can\'t carry the tokens of oauth: {" or ".join(BEARER)}')

    @property
    def mailbox(self) -> str:
        """Return the hash that names the remote mailbox: the same place under another profile is the same mailbox."""
        user = self.user.removeprefix(GMAIL_RECENT) if self.is_gmail else self.user
        place = f"{self.server.host}\0{user}".encode()
        return hashlib.sha256(place).hexdigest()[:32]

    @property
    def is_gmail(self) -> bool:
        """Return whether it is Gmail, which hides mail from POP3 once it was retrieved."""
        return self.server.host in {"pop.gmail.com", "pop.googlemail.com"}

    def hides_mail(self, *, seen: bool) -> bool:
        """Return whether the only copy of a retrieved mail is ours: as configured, or as was `seen` of the server."""
        return self.custody is Custody.BLOB or (self.custody is Custody.AUTO and (seen or self.is_gmail))

    @property
    def lists_in_parts(self) -> bool:
        """Return whether a listing shows only a part of the mailbox, so that the next may show more at once."""
        return self.is_gmail or self.user.startswith(GMAIL_RECENT)

    @property
    def host(self) -> str:
        """Return whose limits a session counts for: the host; here with the port, which may lead elsewhere."""
        host = self.server.host
        is_here = host in {"localhost", "::1"} or host.startswith("127.")
        return f"{host}:{self.server.port}" if is_here else host

    @property
    def windows(self) -> tuple[Window, ...]:
        """Return the hours in which the mailbox may be polled; none means always."""
        return tuple(parse_window(text) for text in self.hours)

    @property
    def fallback(self) -> str:
        """Return the fallback recipient: a bare user takes the first local domain, if there is one."""
        if "@" in self.local_user or not self.local_domain:
            return self.local_user
        return f"{self.local_user}@{self.local_domain[0]}"

    def recipient(self, user: str) -> str:
        """Return a local user in the form in which recipients are compared, so that who has a mail has it once."""
        local, at, domain = user.rpartition("@")
        if not self.local_domain or (at and not (self.same_users and domain in self.local_domain)):
            return user
        return f"{local if at else user}@{self.local_domain[0]}"

    @property
    def policy(self) -> RoutingPolicy:
        """Return what a router needs to know of this profile."""
        return self.routing_policy(
            distribute=self.distribute,
            local_domains=self.local_domain,
            fallback=self.fallback,
            same_users=self.same_users,
        )

    def to_json(self) -> str:
        """Return the settings as the ledger keeps them; the password is a reference, never a secret."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls.model_validate_json(text)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Read one `[[profile]]` table; raises pydantic.ValidationError."""
        return cls.model_validate(document)
