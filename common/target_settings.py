"""The `[target.NAME]` section of pps.toml: one place that takes deliveries. The one home of its keys."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, field_validator, model_validator

from common.key_form import WHOLE
from common.messages import one_line
from common.profile import Tls
from common.server_keys import Reference
from common.target_auth import TargetAuth
from common.target_url import QUARANTINE, anchored_target, encryption, parse_target


class TargetSettings(BaseModel):
    """A `[target.NAME]` section: one place that takes deliveries."""

    model_config = WHOLE

    url: str = Field(
        description="lmtp://HOST[:PORT], lmtp+unix:PATH, smtp://HOST[:PORT], smtps://HOST or maildir:PATH."
    )
    tls: Tls = Field(default=Tls.AUTO, description="auto, implicit, starttls or none.")
    ca: str | None = Field(default=None, min_length=1, description="A file of certificates to trust for this target.")
    received: bool = Field(default=True, strict=True, description="Whether mail gets a Received field; else one line.")
    sender: str | None = Field(default=None, description="The envelope sender of all mail; else its Return-Path.")
    refused: str = Field(
        default=QUARANTINE,
        description='What becomes of mail it refuses for good: "quarantine" (the remote mail stays) or maildir:PATH.',
    )
    connections: int = Field(default=16, strict=True, ge=1, le=256, description="Most connections at a time.")
    user: str | None = Field(default=None, min_length=1, description="The account, where the target asks for one.")
    password: Reference | None = Field(
        default=None, description="Where the account's password is found; with xoauth2, the access token."
    )
    auth: TargetAuth = Field(default=TargetAuth.AUTO, description="auto, plain, login, cram-md5 or xoauth2.")
    client_cert: str | None = Field(default=None, min_length=1, description="A certificate file to show the target.")
    client_key: str | None = Field(default=None, min_length=1, description="Its key, where it is in another file.")

    @field_validator("url")
    @classmethod
    def _url_is_known(cls, url: str) -> str:
        return str(parse_target(url))

    @field_validator("refused")
    @classmethod
    def _refused_is_known(cls, value: str) -> str:
        if value == QUARANTINE:
            return value
        if not value.startswith("maildir:"):
            raise ValueError(f'{shown_scheme(value)} is not "{QUARANTINE}" or maildir:PATH')
        return str(parse_target(value))

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        try:
            encryption(parse_target(self.url), self.tls)
        except ValueError as error:
            raise ValueError(f"tls: {error}") from error
        if (self.user is None) != (self.password is None):
            here, missing = ("password", "user") if self.user is None else ("user", "password")
            raise ValueError(f"{here} is there without {missing}: an account needs both")
        if self.auth is not TargetAuth.AUTO and self.user is None:
            raise ValueError(f'auth = "{self.auth}" is there without user and password')
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key is there without client_cert")
        if self.client_cert is not None and encryption(parse_target(self.url), self.tls) is Tls.NONE:
            raise ValueError('client_cert: nothing is encrypted there: set tls = "starttls", or write smtps://')
        return self

    def anchored(self, base: Path) -> Self:
        """Return the section with its relative paths made absolute."""
        changes = {
            "url": anchored_target(self.url, base),
            "refused": self.refused if self.refused == QUARANTINE else anchored_target(self.refused, base),
            "ca": None if self.ca is None else str(base / self.ca),
            "client_cert": None if self.client_cert is None else str(base / self.client_cert),
            "client_key": None if self.client_key is None else str(base / self.client_key),
            "password": None if self.password is None else anchored_after("file:", self.password, base),
        }
        return self.model_copy(update=changes)


def anchored_after(prefix: str, text: str, base: Path) -> str:
    """Return a reference with its path made absolute, if it is one of this kind."""
    return f"{prefix}{base / text.removeprefix(prefix)}" if text.startswith(prefix) else text


def shown_scheme(url: str) -> str:
    """Return what may be shown of a URL that may hold a password."""
    scheme, separator, _ = url.partition(":")
    return f'"{one_line(scheme, 16)}{separator}…"' if separator else f'"{one_line(url, 64)}"'
