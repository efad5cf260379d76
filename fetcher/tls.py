"""How a session is encrypted: contexts that verify, pinned certificates, what a failed handshake means, and the mend.

A pinned fingerprint stands in for chain and host name, as administrators of self-signed servers expect; with `ca` as
well, all must hold.
"""

import hashlib
import hmac
import ipaddress
import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from common.failures import PollError, PollResult
from common.profile import Tls
from common.server import Server

_WRONG_NAME: Final = 62  # X509_V_ERR_HOSTNAME_MISMATCH
_WRONG_IP: Final = 64  # X509_V_ERR_IP_ADDRESS_MISMATCH
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_WEAK: Final = {66, 67, 68}  # X509_V_ERR_EE_KEY_TOO_SMALL, CA_KEY_TOO_SMALL, CA_MD_TOO_WEAK

LEGACY: Final = frozenset({
    "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "DH_KEY_TOO_SMALL", "BAD_DH_VALUE", "EE_KEY_TOO_SMALL",
    "SSLV3_ALERT_HANDSHAKE_FAILURE", "SSL_TLSV1_ALERT_INSUFFICIENT_SECURITY", "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    "NO_CIPHERS_AVAILABLE", "UNSAFE_LEGACY_RENEGOTIATION_DISABLED", "WRONG_SIGNATURE_TYPE",
    "LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED",
})  # fmt: skip
"""OpenSSL's reasons for a handshake that failed because the server is too old for us, or is set up so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Which server is believed to be the one, and which certificate we show it."""

    ca: str | None = None  # a file of certificates instead of the system's
    fingerprints: tuple[str, ...] = ()  # SHA-256 of the server's certificate, 64 lower-case digits; any of them will do
    client_cert: str | None = None
    client_key: str | None = None  # None: in the same file


def client_context(trust: Trust, server: Server) -> ssl.SSLContext:
    """Return a context that verifies chain and host name, TLS 1.2 or newer; raises PollError for a bad file."""
    try:
        context = ssl.create_default_context(cafile=trust.ca)
    except (OSError, ssl.SSLError) as error:
        raise PollError(PollResult.TLS, f"{server}: ca: can't read certificates from {trust.ca}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust.fingerprints and trust.ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # `check_fingerprint` follows each handshake, before anything is said
    if trust.client_cert is not None:
        _show_certificate(context, trust.client_cert, trust.client_key, server)
    return context


def _show_certificate(context: ssl.SSLContext, certificate: str, key: str | None, server: Server) -> None:
    def no_passphrase() -> str:
        raise PollError(PollResult.TLS, f"{server}: client_key: its key is encrypted: decrypt it, and chmod 600")

    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except (OSError, ssl.SSLError) as error:
        files = certificate if key is None else f"{certificate} and {key}"
        what = "client_cert: can't use the certificate and key in"
        raise PollError(PollResult.TLS, f"{server}: {what} {files}: {error.strerror or error}") from error


def check_fingerprint(trust: Trust, connection: ssl.SSLObject | None, server: Server) -> None:
    """Raise PollError unless the server's certificate is a pinned one, where any is pinned."""
    if not trust.fingerprints:
        return
    found = None if connection is None else fingerprint_of(connection)
    if found is None or not any(hmac.compare_digest(found, pinned) for pinned in trust.fingerprints):
        raise PollError(
            PollResult.TLS,
            f"{server}: its certificate is not the one that fingerprint names, but sha256:{found}: "
            "find out from its operator whether it was renewed",
        )


def fingerprint_of(connection: ssl.SSLObject) -> str | None:
    """Return the SHA-256 of the server's certificate, None where it showed none."""
    certificate = connection.getpeercert(binary_form=True)
    return None if certificate is None else hashlib.sha256(certificate).hexdigest()


def handshake_failure(error: ssl.SSLError, server: Server, *, at_once: bool) -> PollError:
    """Return what a failed handshake means to whoever configured the server; `at_once`: with the first octet."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(error, server)
    if error.reason in LEGACY:
        return LegacyTlsError(server, error.reason or "")
    if at_once:
        mend = 'drop the "s" after it in server' if server.implicit_tls else 'set tls = "starttls"'
        return PollError(PollResult.TLS, f"{server}: it does not speak TLS ({error.reason}): check the port, or {mend}")
    return PollError(PollResult.TLS, f"{server}: the TLS handshake failed: {error.reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a server shows to whoever verifies nothing."""

    encryption: str  # version and cipher
    fingerprint: str  # SHA-256 of its certificate, 64 lower-case digits


class RefusedTlsError(PollError, ABC):
    """A server that we won't speak to: a second look at it may tell what to mend."""

    def __init__(self, server: Server, reason: str, text: str) -> None:
        super().__init__(PollResult.TLS, f"{server}: {text}")
        self.server = server
        self.reason = reason

    @abstractmethod
    def seen(self, shown: Shown) -> PollError:
        """Return the same error with what that look showed."""


class LegacyTlsError(RefusedTlsError):
    """A server whose TLS is too old or too weak for us; `offered` is what it has, where we found out."""

    def __init__(self, server: Server, reason: str, offered: str | None = None) -> None:
        has = f"it offers {offered}" if offered else "what it offers is older or weaker"
        asks = "PPS asks for TLS 1.2 or newer with keys of 2048 bits: its operator must bring it up to date"
        super().__init__(server, reason, f"the TLS handshake failed ({reason}): {has}; {asks}")

    def seen(self, shown: Shown) -> "LegacyTlsError":
        """See RefusedTlsError."""
        return LegacyTlsError(self.server, self.reason, shown.encryption)


class UntrustedError(RefusedTlsError):
    """A certificate of nobody that we know; `fingerprint` is its own, where we found out."""

    def __init__(self, server: Server, reason: str, fingerprint: str | None = None) -> None:
        trusting = "if you trust it, name the issuer's certificate in ca, or its own SHA-256 in fingerprint"
        told = f", {fingerprint}, if that is what its operator says" if fingerprint else ""
        super().__init__(server, reason, f"its certificate is not trusted ({reason}): {trusting}{told}")
        self.fingerprint = fingerprint

    def seen(self, shown: Shown) -> "UntrustedError":
        """See RefusedTlsError."""
        return UntrustedError(self.server, self.reason, shown.fingerprint)


def lax_context() -> ssl.SSLContext:
    """Return a context that takes all that OpenSSL still can, and verifies nothing: to ask what is offered, no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _distrust(error: ssl.SSLCertVerificationError, server: Server) -> PollError:
    if error.verify_code in {_WRONG_NAME, _WRONG_IP}:
        text = f"its certificate is for another name than {server.host}: write the name that the certificate has"
    elif error.verify_code == _EXPIRED:
        text = "its certificate has expired: only the server's operator can mend that"
    elif error.verify_code in _WEAK:
        text = f"its certificate is too weak ({error.verify_message}): only the server's operator can mend that"
    else:
        return UntrustedError(server, error.verify_message)
    return PollError(PollResult.TLS, f"{server}: {text}")


def needs_encryption(tls: Tls, peer: str | None) -> bool:
    """Whether cleartext is refused: always, but on the administrator's word, and on loopback."""
    if tls is Tls.STARTTLS:
        return True
    return tls is Tls.AUTO and not is_loopback(peer)


def is_loopback(peer: str | None) -> bool:
    """Whether an address is this machine's own, so that nobody is in between; None is one behind a proxy."""
    return peer is not None and ipaddress.ip_address(peer.partition("%")[0]).is_loopback
