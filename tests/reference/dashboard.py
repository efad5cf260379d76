"""The dashboard for Grafana, from top to bottom: is mail flowing, what is stuck, since when, where does time go."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DASHBOARD: Final = Path(__file__).parent.parent.parent / "deploy" / "grafana" / "pps.json"

_WIDTH: Final = 24  # of Grafana's grid
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture: `queries` by what the legend calls them."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    alarm: float | None = None  # the value from which on it is red
    text: str = ""


def _quantile(metric: str, by: str, quantile: float = 0.9) -> str:
    return f"histogram_quantile({quantile}, sum by ({by}, le) (rate({metric}_bucket[$__rate_interval])))"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def _now(title: str, query: str, *, unit: str = "short", alarm: float | None = None, text: str = "") -> Panel:
    return Panel(title=title, queries={"now": query}, unit=unit, kind="stat", width=4, height=4, alarm=alarm, text=text)


PANELS: Final = (
    _now("Delivered in the last hour", 'sum(increase(pps_deliveries_total{result=~"delivered|redirected"}[1h]))'),
    _now("Oldest mail not delivered", "max(pps_oldest_undelivered_seconds)", unit="s", alarm=900, text="pps status"),
    _now("Oldest mail not deleted", "max(pps_oldest_undeleted_seconds)", unit="s", alarm=3600, text="pps status"),
    _now("In quarantine", "sum(max by (reason) (pps_quarantined))", alarm=1, text="pps quarantine list"),
    _now("Targets paused", "sum(max by (target) (pps_target_paused))", alarm=1, text="pps status"),
    _now("Profiles stopped", 'max(pps_profiles{state="stopped"})', alarm=1, text="pps status"),
    Panel(title="Mails fetched and deleted", unit="ops", queries={
        "fetched": "sum(rate(pps_mails_fetched_total[$__rate_interval]))",
        "deleted": 'sum(rate(pps_mails_deleted_total{result="ok"}[$__rate_interval]))',
    }),
    Panel(title="Deliveries by result", unit="ops", queries={"{{result}}": _rate("pps_deliveries_total", "result")}),
    Panel(title="From listing to acceptance", unit="s", queries={
        "{{transport}}, half": _quantile("pps_delivery_seconds", "transport", 0.5),
        "{{transport}}, nine of ten": _quantile("pps_delivery_seconds", "transport"),
    }),
    Panel(title="Messages that wait", queries={
        "{{queue}}": 'max by (queue) (pps_queue_messages{state="ready"})',
    }),
    Panel(title="How long they wait", unit="s", queries={
        "{{queue}}": 'max by (queue) (pps_queue_oldest_seconds{state="ready"})',
    }),
    Panel(title="Consumers", queries={"{{queue}}": "max by (queue) (pps_consumers)"}),
    Panel(title="Polls by result", unit="ops", queries={"{{result}}": _rate("pps_polls_total", "result")}),
    Panel(title="How late polls begin (nine of ten)", unit="s", queries={
        "late": "histogram_quantile(0.9, sum by (le) (rate(pps_schedule_lag_seconds_bucket[$__rate_interval])))",
    }),
    Panel(title="Where a poll's time goes (nine of ten)", unit="s", queries={
        "{{phase}}": _quantile("pps_poll_duration_seconds", "phase"),
    }),
    Panel(title="Work on a message (nine of ten)", unit="s", queries={
        "{{stage}}": _quantile("pps_work_seconds", "stage"),
    }),
    Panel(title="Confirmation by the broker (nine of ten)", unit="s", queries={
        "{{queue}}": _quantile("pps_confirm_seconds", "queue"),
    }),
    Panel(title="Sent again, swept, withheld", unit="ops", queries={
        "publish: {{result}}": 'sum by (result) (rate(pps_publishes_total{result!="ack"}[$__rate_interval]))',
        "swept: {{what}}": _rate("pps_swept_total", "what"),
        "not deleted: {{reason}}": _rate("pps_deletes_withheld_total", "reason"),
    }),
    Panel(title="Mails that aren't settled", queries={"{{state}}": "max by (state) (pps_ledger_mails)"}),
    Panel(title="Free for blobs", unit="bytes", queries={"{{instance}}": "pps_blob_store_free_bytes"}),
    Panel(title="Memory of each process", unit="bytes", queries={
        "{{instance}}": "process_resident_memory_bytes and on (instance) pps_build_info",
    }),
)  # fmt: skip


def dashboard() -> str:
    """Return the dashboard as Grafana imports it."""
    document = {
        "uid": "pps",
        "title": "POP3 Pull Service",
        "schemaVersion": 38,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": _placed(),
    }
    return json.dumps(document, indent=1) + "\n"


def _placed() -> list[dict[str, Any]]:
    """Return the panels in rows, each as wide as it asks for."""
    placed: list[dict[str, Any]] = []
    across = down = 0
    for number, panel in enumerate(PANELS, start=1):
        if across + panel.width > _WIDTH:
            across, down = 0, down + PANELS[number - 2].height
        placed.append(_panel(number, panel, across, down))
        across += panel.width
    return placed


def _panel(number: int, panel: Panel, across: int, down: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [] if panel.alarm is None else [{"color": "red", "value": panel.alarm}]
    return {
        "id": number,
        "title": panel.title,
        "description": panel.text,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": {"x": across, "y": down, "w": panel.width, "h": panel.height},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }
