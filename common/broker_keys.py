"""The form of `[service] broker_api`: where RabbitMQ's management API is, who asks it, or that nobody does. Pure."""

from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator

from common.key_form import Form
from common.secrets import KINDS, is_reference

AUTO: Final = "auto"
OFF: Final = "off"

API_PORTS: Final = {"http": 15672, "https": 15671}
API_FORM: Final = "http[s]://[USER:PASSWORD@]HOST[:PORT]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAddress:
    """One address of the management API, and the account there, if the URL has one."""

    base: str  # "http://mq.example.com:15672", without the account
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_api(url: str) -> ApiAddress:
    """Read http[s]://[USER:PASSWORD@]HOST[:PORT][/PREFIX]; raise ValueError, which shows nothing of it."""
    refused = f"is {AUTO}, {OFF}, {API_FORM}, or a reference to such a URL: {KINDS}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(refused) from None
    account = (parts.username, parts.password)
    if parts.scheme not in API_PORTS or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(refused)
    if any(account) and not all(account):
        raise ValueError(refused)
    user, password = (None if one is None else unquote(one) for one in account)
    return ApiAddress(base=api_base(parts.scheme, parts.hostname, port, parts.path), user=user, password=password)


def api_base(scheme: str, host: str, port: int | None = None, prefix: str = "") -> str:
    """Return the beginning of the API's addresses on a host; an IPv6 address is put in brackets."""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port or API_PORTS[scheme]}{prefix.rstrip('/')}"


def _api(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"is {AUTO}, {OFF}, {API_FORM}, or a reference to such a URL: {KINDS}")  # noqa: TRY004 (pydantic's)
    if value not in {AUTO, OFF} and not is_reference(value):
        parse_api(value)
    return value


BrokerApi = Annotated[str, BeforeValidator(_api), Form("URL or reference", f'"{AUTO}", "{OFF}", {API_FORM}')]
