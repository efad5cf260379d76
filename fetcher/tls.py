"""How a session is encrypted: contexts that verify, and what a failed handshake means, in one line with the mend."""

import ipaddress
import ssl
from typing import Final

from common.failures import PollError, PollResult
from common.profile import Server, Tls

_WRONG_NAME: Final = 62  # X509_V_ERR_HOSTNAME_MISMATCH
_WRONG_IP: Final = 64  # X509_V_ERR_IP_ADDRESS_MISMATCH
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED


def client_context(ca: str | None, server: Server) -> ssl.SSLContext:
    """Return a context that verifies chain and host name, TLS 1.2 or newer; raises PollError for a bad CA file."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise PollError(PollResult.TLS, f"{server}: ca: can't read certificates from {ca}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def handshake_failure(error: ssl.SSLError, server: Server, *, at_once: bool) -> PollError:
    """Return what a failed handshake means to whoever configured the server; `at_once`: with the first octet."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return PollError(PollResult.TLS, f"{server}: {_distrust(error, server)}")
    if at_once:
        mend = 'drop the "s" after it in server' if server.implicit_tls else 'set tls = "starttls"'
        return PollError(PollResult.TLS, f"{server}: it does not speak TLS ({error.reason}): check the port, or {mend}")
    return PollError(PollResult.TLS, f"{server}: the TLS handshake failed: {error.reason}")


def _distrust(error: ssl.SSLCertVerificationError, server: Server) -> str:
    if error.verify_code in {_WRONG_NAME, _WRONG_IP}:
        return f"its certificate is for another name than {server.host}: write the name that the certificate has"
    if error.verify_code == _EXPIRED:
        return "its certificate has expired: only the server's operator can mend that"
    return (
        f"its certificate is not trusted ({error.verify_message}): name the issuer's certificate in ca, if you trust it"
    )


def needs_encryption(tls: Tls, peer: str) -> bool:
    """Whether cleartext is refused: always, but on the administrator's word, and on loopback."""
    if tls is Tls.STARTTLS:
        return True
    return tls is Tls.AUTO and not is_loopback(peer)


def is_loopback(peer: str) -> bool:
    """Whether an address is this machine's own: nobody is in between."""
    return ipaddress.ip_address(peer.partition("%")[0]).is_loopback
