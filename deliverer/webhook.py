"""Posts JSON to a webhook: one deadline for all of it, no redirect followed, and no error holds what its URL holds."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from common.messages import one_line

SECONDS: Final = 20.0
"""How long it may take, all in all: one octet a second is no answer."""


class WebhookError(Exception):
    """It was not taken; the text says why, without the URL."""


async def post(url: str, document: Mapping[str, object]) -> None:
    """Post a document; raises WebhookError unless the answer is 2xx. What else the answer says is not read."""
    import httpx  # noqa: PLC0415 (0.15 s, for the few who need it)

    try:
        async with (
            asyncio.timeout(SECONDS),
            httpx.AsyncClient(timeout=SECONDS) as client,
            client.stream("POST", url, json=dict(document), headers={"User-Agent": "pps"}) as answer,
        ):
            status = answer.status_code
    except (TimeoutError, httpx.TimeoutException):
        raise WebhookError(f"no answer in {SECONDS:.0f} s") from None
    except httpx.ConnectError as error:
        raise WebhookError(one_line(f"can't connect: {error}")) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # their words may be the server's, or hold the URL
        raise WebhookError(f"no answer that can be read: {type(error).__name__}") from None
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise WebhookError(f"it answers {status}, which leads elsewhere: set webhook to where it leads")
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise WebhookError(f"it answers {status}")
