"""A private certificate authority for TLS tests, and one server certificate for localhost and 127.0.0.1."""

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files: what a client trusts, and what a server shows."""

    ca: Path
    chain: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """What `openssl x509 -fingerprint -sha256` prints, in lower case and without colons."""
        leaf = self.chain.read_text().partition("-----END CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf[0] + leaf[1])).hexdigest()


def issue(folder: Path, *names: str) -> Certificates:
    """Write a fresh CA and a certificate for `names` (default: localhost, 127.0.0.1 and ::1) into `folder`."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1")))
    issued = Certificates(ca=folder / "ca.pem", chain=folder / "server.pem", key=folder / "server.key")
    authority.cert_pem.write_to_path(issued.ca)
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(issued.chain, append=True)
    certificate.private_key_pem.write_to_path(issued.key)
    return issued
