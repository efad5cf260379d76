"""What OAuth 2 endpoints answer (RFC 6749, section 5; RFC 8628, section 3.2): octets in, values out. No I/O here."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.messages import one_line
from common.secrets import Secret
from fetcher.pop3 import without

OK: Final = 200
MAX_TOKEN: Final = 16 * 1024
"""Characters of a token: Microsoft's have 2,000 and more."""

DEFAULT_LIFETIME: Final = 600
"""Seconds that an access token is believed to live, where the answer doesn't say: RFC 6749 only recommends it."""

LONGEST: Final = 10 * 365 * 86_400
LONGEST_INTERVAL: Final = 300
DEFAULT_INTERVAL: Final = 5
"""Seconds between two questions whether the login is done, where the answer doesn't say (RFC 8628, section 3.2)."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_CODE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e ]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """An access token, and what the next one is got with."""

    access: Secret
    refresh: Secret | None  # None: the one we have stays valid
    expires_in: int  # seconds
    grant_expires_in: int | None = None  # seconds until only a person can get another; None: not said


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What a person needs to allow us, elsewhere."""

    device_code: Secret
    user_code: str
    uri: str
    uri_complete: str | None
    expires_in: int
    interval: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error in the endpoint's own words; `code` is for programs: invalid_grant, slow_down."""

    code: str
    text: str


def parse_tokens(status: int, body: bytes) -> Tokens | Refusal:
    """Read the token endpoint's answer."""
    said = _object(body)
    if status != OK or not said.get("access_token"):
        return _refusal(status, said)
    access, refresh = _token(said.get("access_token")), _token(said.get("refresh_token"))
    if access is None or str(said.get("token_type", "bearer")).lower() != "bearer":
        return Refusal(code="unusable", text="it gives a token that is no bearer token")
    return Tokens(
        access=access,
        refresh=refresh,
        expires_in=_seconds(said.get("expires_in"), LONGEST) or DEFAULT_LIFETIME,
        grant_expires_in=_seconds(said.get("refresh_token_expires_in"), LONGEST),
    )


def parse_device(status: int, body: bytes) -> DeviceCode | Refusal:
    """Read the device endpoint's answer. "verification_url" is what Google says."""
    said = _object(body)
    device, user = _token(said.get("device_code")), said.get("user_code")
    uri = _uri(said.get("verification_uri") or said.get("verification_url"))
    if status != OK or device is None or uri is None or not isinstance(user, str) or not _CODE.fullmatch(user):
        return _refusal(status, said)
    return DeviceCode(
        device_code=device,
        user_code=user,
        uri=uri,
        uri_complete=_uri(said.get("verification_uri_complete")),
        expires_in=_seconds(said.get("expires_in"), LONGEST) or DEFAULT_LIFETIME,
        interval=_seconds(said.get("interval"), LONGEST_INTERVAL) or DEFAULT_INTERVAL,
    )


def masked(refusal: Refusal, secrets: Mapping[str, str]) -> Refusal:
    """Return a refusal without what we sent, should the endpoint repeat it."""
    text = refusal.text
    for name, value in secrets.items():
        if name not in _HARMLESS:
            text = without(text, value)
    return Refusal(code=refusal.code, text=text)


_HARMLESS: Final = frozenset({"grant_type", "client_id", "scope", "redirect_uri"})


def _object(body: bytes) -> dict[str, Any]:
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _refusal(status: int, said: dict[str, Any]) -> Refusal:
    code, text = said.get("error"), said.get("error_description")
    if not isinstance(code, str) or not code.isprintable():
        return Refusal(code="", text=f"it answers {status}, and nothing that OAuth 2 knows")
    first = text.splitlines()[0] if isinstance(text, str) and text else ""  # Microsoft's have trace ids in the next
    return Refusal(code=code[:64], text=one_line(f"{code[:64]}: {first}" if first else code[:64], 300))


def _token(value: object) -> Secret | None:
    if isinstance(value, str) and len(value) <= MAX_TOKEN and _TOKEN.fullmatch(value):
        return Secret(value)
    return None


def _uri(value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"https?://[\x21-\x7e]{1,2000}", value) else None


def _seconds(value: object, most: int) -> int | None:
    """Read a number of seconds; some write it as a text."""
    if isinstance(value, str) and value.isdigit():
        value = int(value[:18])
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return int(min(value, most)) or 1
    return None
