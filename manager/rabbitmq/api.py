"""RabbitMQ's management API over HTTP, with a deadline and a cap, at whichever address answers.

https://www.rabbitmq.com/docs/management#http-api. What it says never shows a password: it is sent none but the asker's.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from common.broker_keys import AUTO, OFF, ApiAddress, api_base, parse_api
from common.config import Config
from common.failures import PpsError, UsageError
from common.messages import one_line
from common.rabbitmq.address import Address, parse_address
from common.secrets import Secret, is_reference, resolve

if TYPE_CHECKING:
    import httpx

SECONDS: Final = 10.0
"""How long one answer may take."""

ANSWER_SECONDS: Final = 3.0
"""How long it may take to answer at all: a firewall that drops what it doesn't like must not hold up who looks."""

MAX_ANSWER: Final = 32 * 1024 * 1024
"""Octets of an answer: some thousand queues, or dead letters' headers."""

KEY: Final = "[service] broker_api"


class ApiError(PpsError):
    """The API isn't there, or doesn't let us; one line that names the address and the mend."""


class Api:
    """The API at one address, as one user."""

    def __init__(self, client: "httpx.AsyncClient", address: ApiAddress, user: str) -> None:
        self.user = user
        self.base = address.base
        self._client = client

    async def silence(self) -> str | None:
        """Return why nothing answers here, None if something does: all addresses are tried at once, and soon left."""
        try:
            await _exchange(self._client, "GET", f"{self.base}/api/whoami", None, seconds=ANSWER_SECONDS)
        except ApiError as error:
            return str(error)
        return None

    async def tags(self) -> frozenset[str]:
        """Return what the user is: administrator, monitoring, …; raises ApiError when it may not ask at all."""
        found = (await self.get("whoami"))["tags"]
        return frozenset(found.split(",") if isinstance(found, str) else found)  # one text before RabbitMQ 3.9

    async def get(self, *path: str) -> Any:  # noqa: ANN401 (JSON)
        """Return what stands there; raises ApiError."""
        return await self._ask("GET", path)

    async def find(self, *path: str) -> Any:  # noqa: ANN401 (JSON)
        """Return what stands there, None if nothing does; raises ApiError."""
        return await self._ask("GET", path, absent=True)

    async def put(self, *path: str, document: object) -> None:
        """Put it there; raises ApiError."""
        await self._ask("PUT", path, document)

    async def post(self, *path: str, document: object) -> Any:  # noqa: ANN401 (JSON)
        """Send it there and return the answer; raises ApiError."""
        return await self._ask("POST", path, document)

    async def delete(self, *path: str) -> None:
        """Remove what stands there; raises ApiError."""
        await self._ask("DELETE", path)

    async def _ask(self, method: str, path: Sequence[str], document: object = None, *, absent: bool = False) -> Any:  # noqa: ANN401 (JSON)
        url = "/api/" + "/".join(quote(part, safe="") for part in path)
        status, body = await _exchange(self._client, method, self.base + url, document)
        if status == HTTPStatus.NOT_FOUND and absent:
            return None
        if status >= HTTPStatus.BAD_REQUEST:
            raise ApiError(f"{KEY}: {self.base}: {_refusal(status, body, self.user, '/'.join(path))}")
        return _json(body, self.base) if body else None


@asynccontextmanager
async def open_api(addresses: Sequence[ApiAddress], user: str, password: Secret) -> AsyncIterator[Api]:
    """Ask at the first address that answers; raises ApiError that names each that doesn't."""
    import httpx  # noqa: PLC0415 (0.15 s, for the few who need it)

    context = ssl.create_default_context()
    async with AsyncExitStack() as stack:
        apis = []
        for address in addresses:
            account = (address.user or user, password.reveal() if address.password is None else address.password)
            client = httpx.AsyncClient(auth=account, verify=context, timeout=SECONDS, trust_env=False)
            apis.append(Api(await stack.enter_async_context(client), address, account[0]))
        silences = await asyncio.gather(*(api.silence() for api in apis))
        answering = [api for api, silence in zip(apis, silences, strict=True) if silence is None]
        if not answering:
            raise ApiError("; ".join(filter(None, silences)))
        yield answering[0]


async def api_addresses(config: Config, broker: Address | None) -> tuple[ApiAddress, ...]:
    """Return where the API is, by the configuration; () where it is off. Raises PpsError."""
    if config.service.broker_api == OFF:
        return ()
    if config.service.broker_api == AUTO:
        return () if broker is None else addresses_beside(broker)
    key = await _key(config)
    try:
        if key.startswith("amqp"):  # the account of who monitors, as `pps broker setup` keeps it
            account = parse_address(key)
            return tuple(
                replace(one, user=account.user, password=account.password) for one in addresses_beside(account)
            )
        return (parse_api(key),)
    except UsageError:
        raise PpsError(f"{KEY}: its reference leads to something that is no amqp://USER:PASSWORD@HOST/VHOST") from None
    except ValueError as error:
        raise PpsError(f"{KEY}: {error}") from None


async def monitors_url(config: Config) -> str | None:
    """Return the broker's URL of who monitors, if `[service] broker_api` leads to one; raises PpsError."""
    url = await _key(config)
    return url if url.startswith("amqp") else None


async def _key(config: Config) -> str:
    key = config.service.broker_api
    if not is_reference(key):
        return key
    try:
        return (await resolve(key, base=config.base)).reveal()
    except PpsError as error:
        raise PpsError(f"{KEY}: {error}") from error.__cause__


def addresses_beside(broker: Address) -> tuple[ApiAddress, ...]:
    """Return where the API usually is: on each of the cluster's hosts, encrypted if AMQP is."""
    scheme = "https" if broker.tls else "http"
    return tuple(ApiAddress(base=api_base(scheme, node.host)) for node in broker.nodes)


async def _exchange(
    client: "httpx.AsyncClient", method: str, url: str, document: object, *, seconds: float = SECONDS
) -> tuple[int, bytes]:
    import httpx  # noqa: PLC0415 (as above)

    place = url.partition("/api/")[0]
    try:
        async with asyncio.timeout(seconds), client.stream(method, url, json=document) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise ApiError(f"{KEY}: {place}: an answer over {MAX_ANSWER} octets: that isn't the management API")
            return answer.status_code, bytes(body)
    except (TimeoutError, httpx.TimeoutException):
        raise ApiError(f"{KEY}: {place}: no answer within {seconds:.0f} s: check host, port and firewall") from None
    except httpx.ConnectError as error:
        raise ApiError(f"{KEY}: {place}: {_unreachable(error)}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiError(
            f"{KEY}: {place}: it doesn't answer as an API does ({type(error).__name__}): check the port"
        ) from None


def _unreachable(error: BaseException) -> str:
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return "its certificate was refused: name the host as it does, and trust its authority (SSL_CERT_FILE)"
    if "SSL" in said:
        return "it doesn't speak TLS there: write http://, or check the port"
    return 'nothing answers there: rabbitmq-plugins enable rabbitmq_management, or name another address, or "off"'


def _refusal(status: int, body: bytes, user: str, path: str) -> str:
    reason = ""
    with suppress(ValueError, KeyError, TypeError):
        reason = str(json.loads(body)["reason"])
    if status == HTTPStatus.UNAUTHORIZED:
        if reason == "Not management user":
            return (
                f"user {user!r} may not ask: rabbitmqctl set_user_tags {user} monitoring (or administrator, to set up)"
            )
        if reason.startswith("Not "):
            return f"user {user!r} may not ask for {path}: rabbitmqctl set_user_tags {user} administrator"
        return f"user {user!r} or its password was refused"
    return f"{path}: {status} {one_line(reason)}".rstrip()


def _json(body: bytes, base: str) -> Any:  # noqa: ANN401 (JSON)
    try:
        return json.loads(body)
    except ValueError:
        raise ApiError(f"{KEY}: {base}: what answers isn't RabbitMQ's management API: check the port") from None
