"""The embedded broker's queues, from the page of metrics that `pps run` shows where `[service] http` says so."""

import asyncio
from collections.abc import Mapping
from typing import Final

from common.config import Config
from common.http_place import place_of
from common.metrics.definitions import CONSUMERS, QUEUE_MESSAGES

SECONDS: Final = 5.0
MAX_PAGE: Final = 4 * 1024 * 1024

Counts = Mapping[str, Mapping[str, int]]
"""By queue: "ready", "unacked" and "consumers", as far as they are known."""


async def scrape(config: Config) -> Counts | None:
    """Return what the running process shows; None where it shows nothing, or isn't there.

    Of a range of ports nobody knows which is whose, so a single one it must be.
    """
    place = place_of("run", config.service.http)
    if place is None or len(place.ports) > 1:
        return None
    host = "127.0.0.1" if place.host is None else place.host
    text = await _page(f"http://{f'[{host}]' if ':' in host else host}:{place.ports[0]}/metrics")
    return None if text is None else _counts(text)


async def _page(url: str) -> str | None:
    import httpx  # noqa: PLC0415 (0.15 s, for the few who need it)

    try:
        async with (
            asyncio.timeout(SECONDS),
            httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_PAGE:
                    return None
            return body.decode(errors="replace") if answer.is_success else None
    except (TimeoutError, httpx.HTTPError):
        return None


def _counts(page: str) -> Counts | None:
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 (as above)

    found: dict[str, dict[str, int]] = {}
    try:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == QUEUE_MESSAGES.full_name:
                    found.setdefault(sample.labels["queue"], {})[sample.labels["state"]] = int(sample.value)
                elif sample.name == CONSUMERS.full_name:
                    found.setdefault(sample.labels["queue"], {})["consumers"] = int(sample.value)
    except (ValueError, KeyError):  # somebody else's page
        return None
    return found or None
