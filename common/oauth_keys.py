"""The keys of a profile that signs in with OAuth 2 access tokens, and the endpoints that they make. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from common.key_form import PART, Form
from common.server_keys import Reference

_TENANT: Final = r"^[A-Za-z0-9.-]{1,255}$"
_TEXT: Final = r"^[\x21-\x7e]+$"
_SCOPE: Final = r"^[\x21-\x7e]+( [\x21-\x7e]+)*$"


class OAuthProvider(StrEnum):
    """Whose endpoints are asked for tokens."""

    MICROSOFT = "microsoft"  # Microsoft 365 and Outlook.com
    GOOGLE = "google"
    CUSTOM = "custom"  # those that the profile names


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where tokens come from (RFC 6749, RFC 8628), and what is asked for."""

    client_id: str
    token_url: str
    device_url: str | None
    authorize_url: str | None
    scope: str | None


_MICROSOFT: Final = "https://login.microsoftonline.com"
ANY_TENANT: Final = "common"


def _url(value: object) -> object:
    """Check an endpoint: https, for tokens pass through it; only on this machine http."""
    text = value.strip() if isinstance(value, str) else ""
    parts = urlsplit(text)
    if not parts.hostname or "@" in parts.netloc or parts.fragment or not text.isprintable():
        raise ValueError('write it as "https://HOST/PATH"')
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise ValueError("must be https: tokens pass through it")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


Url = Annotated[str, BeforeValidator(_url), Form("URL", "https://HOST/PATH")]


class OAuthKeys(BaseModel):
    """Whose access tokens are signed in with, and how they are got."""

    model_config = PART

    oauth: OAuthProvider | None = Field(
        default=None, description="Sign in with OAuth 2 tokens: microsoft, google or custom; see `pps oauth login`."
    )
    oauth_client_id: str | None = Field(
        default=None, max_length=512, pattern=_TEXT, description="The application that you registered there."
    )
    oauth_client_secret: Reference | None = Field(default=None, description="Where its secret is found, if it has one.")
    oauth_tenant: str | None = Field(default=None, pattern=_TENANT, description="Microsoft: the directory; else any.")
    oauth_scope: str | None = Field(
        default=None, max_length=2048, pattern=_SCOPE, description="What to ask for, if not what POP3 needs there."
    )
    oauth_token_url: Url | None = Field(default=None, description="Where tokens are asked for.")
    oauth_device_url: Url | None = Field(default=None, description="Where a login by code begins.")
    oauth_authorize_url: Url | None = Field(default=None, description="Where a login in a browser begins.")

    @model_validator(mode="after")
    def _are_complete(self) -> Self:
        if self.oauth is None:
            stray = next((key for key in OAuthKeys.model_fields if getattr(self, key) is not None), None)
            if stray is not None:
                raise ValueError(f"{stray} is there without oauth: whose is it?")
            return self
        if self.oauth_client_id is None:
            raise ValueError(f'oauth = "{self.oauth}" needs oauth_client_id: the application that you registered there')
        if self.oauth is OAuthProvider.CUSTOM and self.oauth_token_url is None:
            raise ValueError('oauth = "custom" needs oauth_token_url, and oauth_device_url or oauth_authorize_url')
        if self.oauth is not OAuthProvider.MICROSOFT and self.oauth_tenant is not None:
            raise ValueError('oauth_tenant is for oauth = "microsoft"')
        return self

    @property
    def endpoints(self) -> Endpoints:
        """Return where tokens come from; raises ValueError without `oauth`."""
        preset = _preset(self.oauth, self.oauth_tenant or ANY_TENANT, self.oauth_client_id or "")
        return Endpoints(
            client_id=preset.client_id,
            token_url=self.oauth_token_url or preset.token_url,
            device_url=self.oauth_device_url or preset.device_url,
            authorize_url=self.oauth_authorize_url or preset.authorize_url,
            scope=self.oauth_scope or preset.scope,
        )


def _preset(provider: OAuthProvider | None, tenant: str, client_id: str) -> Endpoints:
    match provider:
        case OAuthProvider.MICROSOFT:
            at = f"{_MICROSOFT}/{tenant}/oauth2/v2.0"
            return Endpoints(
                client_id=client_id,
                token_url=f"{at}/token",
                device_url=f"{at}/devicecode",
                authorize_url=f"{at}/authorize",
                scope="https://outlook.office.com/POP.AccessAsUser.All offline_access",
            )
        case OAuthProvider.GOOGLE:
            return Endpoints(
                client_id=client_id,
                token_url="https://oauth2.googleapis.com/token",  # noqa: S106 (a URL)
                device_url=None,  # Google gives no device the scope for mail
                authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
                scope="https://mail.google.com/",
            )
        case OAuthProvider.CUSTOM:
            return Endpoints(client_id=client_id, token_url="", device_url=None, authorize_url=None, scope=None)
        case None:
            raise ValueError("a profile without oauth has no endpoints")
