"""The metrics: what there must be, how they are counted, and that none can grow with the mail."""

import asyncio
import inspect
import math
import subprocess
import sys
import time
from typing import Final

import pytest

from common.metrics import NO_METRICS, Metrics, new_metrics
from common.metrics import definitions as known
from common.metrics.definitions import METRICS, Kind, Scope
from common.metrics.looks import Cached
from tests.command import ROOT
from tests.scraped import Scraped

PROMISED: Final = """
polls_total counter result
poll_duration_seconds histogram phase
schedule_lag_seconds histogram
profiles gauge state
profiles_overdue gauge
profile_up gauge profile
profile_last_success_timestamp_seconds gauge profile
pop3_sessions gauge
mails_fetched_total counter
bytes_fetched_total counter
mails_deleted_total counter result
deletes_withheld_total counter reason
publishes_total counter queue result
confirm_seconds histogram queue
publish_inflight gauge
publish_inflight_bytes gauge
broker_blocked gauge role
broker_connected gauge role
broker_reconnects_total counter role
consumers gauge queue
queue_messages gauge queue state
queue_oldest_seconds gauge queue state
work_seconds histogram stage result
routed_total counter rule
deliveries_total counter transport result
delivery_seconds histogram transport
ledger_mails gauge state
ledger_deliveries gauge state
oldest_undelivered_seconds gauge
oldest_undeleted_seconds gauge
swept_total counter what
copies_joined_total counter
quarantined gauge reason
target_paused gauge target
blob_bytes gauge
blob_store_free_bytes gauge
build_info gauge version python
"""
"""Names, kinds and labels that dashboards and alerts of others are built on: none may change or go."""

BEYOND: Final = {"hosts_paused", "verify_breaches", "verify_last_timestamp_seconds", "ledger_restored"}

CLOSED_OR_CONFIGURED: Final = {
    "profile", "queue", "target", "transport", "rule", "role", "version", "python",
}  # fmt: skip
"""Labels whose values aren't listed: they come from the configuration or from an enumeration of ours."""


@pytest.mark.parametrize("line", PROMISED.split("\n")[1:-1], ids=lambda line: line.split()[0])
def test_each_promised_metric_is_there(line: str) -> None:
    """By its name, kind and labels, in their order."""
    name, kind, *labels = line.split()
    (metric,) = [metric for metric in METRICS if metric.name == name]

    assert metric.kind is Kind(kind)
    assert [label.name for label in metric.labels] == labels


def test_what_is_there_beyond_is_said() -> None:
    """A metric is added here first, so that somebody thinks of its labels."""
    assert {metric.name for metric in METRICS} == {line.split()[0] for line in PROMISED.split("\n")[1:-1]} | BEYOND


def test_no_label_can_grow_with_the_mail() -> None:
    """Every label has its values listed, or is one of those that the configuration bounds."""
    open_ones = {label.name for metric in METRICS for label in metric.labels if not label.values}

    assert open_ones == CLOSED_OR_CONFIGURED
    assert not any(label.name == "profile" and metric.scope is not Scope.SERVICE for metric in METRICS for label in metric.labels)  # fmt: skip  # noqa: E501 (one condition)


def test_those_of_the_whole_service_say_how_to_put_them_together() -> None:
    """Summed over processes, they would count everything several times."""
    for metric in METRICS:
        assert ("max()" in metric.help) == (metric.scope is Scope.SERVICE or metric.name.startswith("queue_")), metric


async def test_counters_begin_with_0_and_unknown_gauges_without_a_value() -> None:
    """A rate needs the 0 before the 1; and 0 mails waiting is something else than nobody knows."""
    shown = Scraped.read((await new_metrics(shown=True).page()).decode())

    assert shown.value("polls_total", result="auth") == 0
    assert shown.value("work_seconds_count", stage="route", result="ack") == 0
    assert shown.value("ledger_mails", state="fetched") is None
    assert math.isnan(shown.value("oldest_undelivered_seconds") or 0)
    assert shown.kinds["pps_polls"] == "counter"
    assert not any(name.endswith("_created") for name, _ in shown.values)


async def test_what_is_counted_is_shown() -> None:
    """Each kind of metric, with labels and without."""
    metrics = new_metrics(shown=True)
    metrics.count(known.POLLS, "ok")
    metrics.count(known.POLLS, "ok", by=2)
    metrics.count(known.COPIES_JOINED)
    metrics.observe(known.CONFIRM_SECONDS, 0.02, "pps.fetched")
    metrics.shift(known.POP3_SESSIONS, 3)
    metrics.shift(known.POP3_SESSIONS, -1)
    metrics.replace(known.TARGET_PAUSED, {("local",): 1, ("mda",): 1})
    metrics.replace(known.TARGET_PAUSED, {("mda",): 1})
    metrics.replace(known.PROFILES_OVERDUE, {(): 7})

    shown = Scraped.read((await metrics.page()).decode())

    assert shown.value("polls_total", result="ok") == 3
    assert shown.value("copies_joined_total") == 1
    assert shown.value("confirm_seconds_bucket", queue="pps.fetched", le="0.025") == 1
    assert shown.value("confirm_seconds_bucket", queue="pps.fetched", le="0.01") == 0
    assert shown.value("pop3_sessions") == 2
    assert shown.by("target_paused", "target") == {"mda": 1}
    assert shown.value("profiles_overdue") == 7


async def test_two_registries_share_nothing() -> None:
    """There is no registry of the whole interpreter: each set of workers has its own."""
    one, other = new_metrics(shown=True), new_metrics(shown=True)
    one.count(known.POLLS, "ok")

    assert Scraped.read((await other.page()).decode()).value("polls_total", result="ok") == 0


async def test_a_block_that_fails_is_timed_too() -> None:
    """The slowest sessions are those that time out."""
    metrics = new_metrics(shown=True)

    with pytest.raises(TimeoutError), metrics.timed(known.POLL_SECONDS, "auth"):
        raise TimeoutError

    shown = Scraped.read((await metrics.page()).decode())
    assert shown.value("poll_duration_seconds_count", phase="auth") == 1


def test_where_nothing_is_shown_nothing_is_kept_or_imported() -> None:
    """Commands don't pay for a library whose page nobody sees: neither its import nor its memory."""
    assert new_metrics(shown=False) is NO_METRICS
    methods = {name for name, _ in inspect.getmembers(Metrics, inspect.isfunction)}
    assert {"count", "observe", "set", "shift", "replace", "before_page", "page", "timed"} == methods - {"__init__"}
    code = "import sys, manager.pull, manager.service; print('prometheus_client' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


async def test_counting_costs_next_to_nothing() -> None:
    """A mail passes some ten of these. A loaded machine may take a hundred times as long as the microsecond seen."""
    metrics = new_metrics(shown=True)
    began = time.process_time()

    for _ in range(1000):
        metrics.count(known.DELIVERIES, "maildir", "delivered")
        metrics.observe(known.WORK_SECONDS, 0.1, "route", "ack")

    assert time.process_time() - began < 0.2


async def test_many_who_look_at_once_ask_once() -> None:
    """An answer is good for a while, and who comes while it is fetched waits for it."""
    asked = 0
    answer = asyncio.Event()

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await answer.wait()

    cached = Cached(3600, ask)
    looking = [asyncio.create_task(cached.look()) for _ in range(20)]
    answer.set()
    await asyncio.gather(*looking)
    await cached.look()

    assert asked == 1


async def test_an_answer_is_asked_for_again_when_it_is_old() -> None:
    """Or the page would show the start of the process for ever."""
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1

    cached = Cached(0, ask)
    await cached.look()
    await cached.look()

    assert asked == 2
