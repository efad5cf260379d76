"""The keys of a profile that say how its server is reached and recognised, beyond `server`, `tls` and `ca`."""

import re
from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, model_validator

from common.key_form import PART, Form
from common.secrets import KINDS, REFERENCE, STORED
from common.transport import Proxy, parse_fingerprint, parse_proxy

MAX_SOCKS_NAME: Final = 255
"""Octets of a name (RFC 1929, section 2)."""


def _fingerprints(value: object) -> object:
    return tuple(parse_fingerprint(item) for item in (value if isinstance(value, list | tuple) else [value]))


def _reference(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(REFERENCE, value) is None:
        raise ValueError(f"is a reference, never the secret itself: {KINDS}")  # what was typed isn't shown back
    return value


def _password(value: object) -> object:
    if value == STORED:
        return value
    try:
        return _reference(value)
    except ValueError as error:
        raise ValueError(f'{error}; or "stored", and typed: pps profile password NAME') from None


Reference = Annotated[str, BeforeValidator(_reference), Form("reference", KINDS)]
Password = Annotated[str, BeforeValidator(_password), Form("reference", f'{KINDS}, or "stored"')]
Fingerprints = Annotated[tuple[str, ...], BeforeValidator(_fingerprints), Form("SHA-256, or list of them")]
ProxyField = Annotated[
    Proxy,
    BeforeValidator(parse_proxy),
    PlainSerializer(str, return_type=str),
    Form("URL", "socks5://HOST[:PORT]"),
]


class ServerKeys(BaseModel):
    """Certificates, ours and theirs, and proxies."""

    model_config = PART

    fingerprint: Fingerprints = Field(
        default=(), description="SHA-256 of the server's certificate: trust it instead of any issuer; with ca, as well."
    )
    client_cert: str | None = Field(default=None, min_length=1, description="A certificate file to show the server.")
    client_key: str | None = Field(default=None, min_length=1, description="Its key's file, if that is another.")
    proxy: ProxyField | None = Field(default=None, description="A SOCKS5 proxy, which also looks up the server's name.")
    proxy_user: str | None = Field(
        default=None, min_length=1, max_length=MAX_SOCKS_NAME, description="The account at the proxy."
    )
    proxy_password: Reference | None = Field(default=None, description="Where that account's password is found.")

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key is there without client_cert")
        if (self.proxy_user is None) is not (self.proxy_password is None):
            raise ValueError("proxy_user and proxy_password go together")
        if self.proxy_user is not None and self.proxy is None:
            raise ValueError("proxy_user is there without proxy")
        return self
