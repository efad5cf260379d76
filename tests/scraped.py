"""A page of /metrics as Prometheus reads it, and the other pages of a process, over HTTP as anybody asks for them."""

import asyncio
from dataclasses import dataclass
from typing import Final, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """One page's values, by the name of the sample and its labels."""

    text: str
    kinds: dict[str, str]  # of each metric, a counter's without _total
    values: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a page; what Prometheus couldn't read raises ValueError."""
        families = list(text_string_to_metric_families(text))
        values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }
        return cls(text=text, kinds={family.name: family.type for family in families}, values=values)

    def value(self, name: str, **labels: str) -> float | None:
        """Return one sample of a metric of ours, None where there is none."""
        return self.values.get((f"pps_{name}", frozenset(labels.items())))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the samples that aren't 0 by one of their labels, summed over the others."""
        found: dict[str, float] = {}
        for (sample, labels), value in self.values.items():
            if sample == f"pps_{name}" and value:
                found[dict(labels)[label]] = found.get(dict(labels)[label], 0) + value
        return found


def page(port: int, path: str, *, seconds: float = PATIENCE_SECONDS) -> httpx.Response:
    """Return a page of the process on this port."""
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=seconds, trust_env=False)


def scrape(port: int) -> Scraped:
    """Return what /metrics shows."""
    found = page(port, "/metrics")
    assert found.status_code == httpx.codes.OK
    return Scraped.read(found.text)


async def page_of(port: int, path: str) -> httpx.Response:
    """Return a page of a process that is this very one."""
    return await asyncio.to_thread(page, port, path)
