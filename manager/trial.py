"""`pps profile test`: connect, sign in, list, and tell what was found. No RETR and no DELE is ever sent."""

import datetime as dt
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from common.config import Config
from common.messages import one_line
from common.profile import Profile
from common.secrets import Secret
from fetcher.connection import Connection
from fetcher.pop3 import Listed
from fetcher.streams import Limits
from manager.profiles import Known
from manager.sign_in import secret_of, signed_in

HASTY: Final = Limits(connect=15, greeting=30, doubt=1, idle=30)
"""A person waits."""

EXPIRES_SOON_DAYS: Final = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The server's certificate."""

    subject: str
    issuer: str
    expires: str  # ISO 8601
    days_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a server showed."""

    server: str
    user: str
    mails: int
    octets: int
    tls: str | None  # version and cipher
    certificate: Certificate | None
    uidls_missing: int
    uidls_repeated: int
    top: bool | None  # None: no mail to try it on
    capabilities: tuple[str, ...]
    has_capa: bool
    login_delay: int | None  # seconds

    def document(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return asdict(self)


async def try_profile(config: Config, profile: Profile, *, known: Known | None, typed: Secret | None) -> Trial:
    """Sign in and look around; `typed` is a password that isn't stored yet. Raises PpsError that names the mend."""
    secret = typed or await secret_of(config, profile, known)
    async with signed_in(config, profile, secret, limits=HASTY) as connection:
        listing = await connection.listing()
        tops = await connection.tops([listing[0].number]) if listing else {}
    return _told(profile, connection, listing, tops)


def _told(profile: Profile, connection: Connection, listing: Sequence[Listed], tops: dict[int, bytes | None]) -> Trial:
    offered = connection.capabilities.names
    uidls = [mail.uidl for mail in listing if mail.uidl]
    encryption = connection.encryption
    return Trial(
        server=str(profile.server),
        user=profile.user,
        mails=len(listing),
        octets=sum(mail.size for mail in listing),
        tls=None if encryption is None else _named(encryption),
        certificate=None if encryption is None else _certificate(encryption),
        uidls_missing=len(listing) - len(uidls),
        uidls_repeated=len(uidls) - len(set(uidls)),
        top=next((header is not None for header in tops.values()), None),
        capabilities=tuple(one_line(" ".join([name, *words]), 80) for name, words in sorted(offered.items())),
        has_capa=connection.capabilities.known,
        login_delay=_seconds(offered.get("LOGIN-DELAY", ())),
    )


def _seconds(words: Sequence[str]) -> int | None:
    return int(words[0]) if words and words[0].isascii() and words[0].isdigit() else None


def _named(encryption: ssl.SSLObject) -> str:
    cipher = encryption.cipher()
    return f"{encryption.version()}{'' if cipher is None else f', {cipher[0]}'}"


def _certificate(encryption: ssl.SSLObject) -> Certificate | None:
    from cryptography import x509  # noqa: PLC0415 (only here, and slow)

    octets = encryption.getpeercert(binary_form=True)
    if octets is None:
        return None
    found = x509.load_der_x509_certificate(octets)
    left = found.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return Certificate(
        subject=one_line(found.subject.rfc4514_string(), 200),
        issuer=one_line(found.issuer.rfc4514_string(), 200),
        expires=found.not_valid_after_utc.isoformat(),
        days_left=left.days,
    )


def sentences(trial: Trial) -> list[tuple[str, str]]:
    """Return what was found in plain words, each with what it is about."""
    return [
        ("sign-in", f"{trial.server} takes {trial.user}"),
        ("mails", f"{trial.mails}, {_size(trial.octets)}"),
        ("encryption", trial.tls or "none: what is said can be read on its way"),
        *([("certificate", _of_certificate(trial.certificate))] if trial.certificate is not None else []),
        ("UIDLs", _of_uidls(trial)),
        ("TOP", _of_top(trial.top)),
        ("offers", ", ".join(trial.capabilities) if trial.has_capa else "it has no CAPA, so what it offers is tried"),
        ("login delay", "none" if trial.login_delay is None else f"{trial.login_delay} s between two sign-ins"),
    ]


def _size(octets: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if octets >= size:
            return f"{octets / size:.1f} {unit}"
    return f"{octets} octets"


def _of_certificate(certificate: Certificate) -> str:
    soon = ": it expires soon" if certificate.days_left < EXPIRES_SOON_DAYS else ""
    until = f"until {certificate.expires[:10]} ({certificate.days_left} days){soon}"
    return f"{certificate.subject or 'no name'}, issued by {certificate.issuer or 'nobody'}, {until}"


def _of_uidls(trial: Trial) -> str:
    if not trial.mails:
        return "no mail to see them by"
    if trial.uidls_missing or trial.uidls_repeated:
        faults = f"{trial.uidls_missing} mails have none, {trial.uidls_repeated} repeat another's"
        return f"{faults}: such mail is known by its header instead, and deleted only in the session that fetched it"
    return "each mail has its own"


def _of_top(works: bool | None) -> str:  # noqa: FBT001 (three states of one fact)
    if works is None:
        return "no mail to try it on"
    return "works" if works else "doesn't work: mail of an earlier session is fetched once more before it is deleted"
