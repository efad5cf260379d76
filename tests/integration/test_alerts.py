"""The alert rules and the dashboard: Prometheus reads them, alerts fire when they should, all they ask for is there."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from common.metrics import new_metrics
from common.metrics.definitions import METRICS, PREFIX, Kind
from tests.command import ROOT
from tests.reference.dashboard import DASHBOARD, PANELS, dashboard
from tests.servers.promtool import promtool

FOLDER: Final = ROOT / "deploy" / "prometheus"
RULES: Final = FOLDER / "pps.rules.yml"
TESTS: Final = FOLDER / "pps.rules.test.yml"

ALERTS: Final = re.findall(r"- alert: (\w+)", RULES.read_text())
SUFFIXES: Final = ("_bucket", "_sum", "_count")


def samples() -> dict[str, set[str]]:
    """Return the names under which our metrics are asked for, with their labels."""
    known: dict[str, set[str]] = {}
    for metric in METRICS:
        labels = {label.name for label in metric.labels}
        for suffix in SUFFIXES if metric.kind is Kind.HISTOGRAM else ("",):
            known[metric.full_name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return known


def asked_for(text: str) -> list[tuple[str, set[str]]]:
    """Return the metrics of ours that a text names, with the labels it names in braces."""
    found = re.findall(rf"\b({PREFIX}\w+)(?:\{{([^}}]*)\}})?", text)
    return [(name, set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)", labels))) for name, labels in found]


def test_prometheus_reads_the_rules() -> None:
    """By its own tool."""
    code, said = promtool("check", "rules", RULES)

    assert code == 0, said


async def test_prometheus_finds_nothing_amiss_in_a_page() -> None:
    """Neither in its form nor in the names, by its own tool."""
    page = (await new_metrics(shown=True).page()).decode()

    assert promtool("check", "metrics", given=page) == (0, "")
    assert promtool("check", "metrics", given=page.replace("pps_polls_total", "pps_polls"))[0] != 0


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    """As pps.rules.test.yml has it; and a test can fail: with other rules it does."""
    code, said = promtool("test", "rules", TESTS)

    assert (code, said.strip().splitlines()[-1].strip()) == (0, "SUCCESS"), said


def test_a_rule_that_is_wrong_is_found(tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    (tmp_path / TESTS.name).write_text(_only(TESTS.read_text(), "a mail is lost"))
    (tmp_path / RULES.name).write_text(RULES.read_text().replace('{reason="lost"}) > 0', '{reason="lost"}) > 1'))

    code, said = promtool("test", "rules", tmp_path / TESTS.name)

    assert code != 0
    assert "PpsMailLost" in said


def _only(tests: str, name: str) -> str:
    head, *each = tests.split("  - name: ")
    return head + "".join(f"  - name: {one}" for one in each if one.startswith(name))


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tried_both_ways_and_documented(alert: str) -> None:
    """At least once it must fire, at least once it must not; and an operator who is woken finds it in the docs."""
    tests = TESTS.read_text()
    silent = re.findall(rf"alertname: {alert} \}}", tests)
    fires = re.findall(rf"alertname: {alert}\n\s+exp_alerts:\n", tests)

    assert silent
    assert fires
    assert f"| {alert} | " in (ROOT / "docs" / "monitoring.md").read_text()


@pytest.mark.parametrize("path", [RULES, TESTS, DASHBOARD, ROOT / "docs" / "monitoring.md"], ids=lambda path: path.name)
def test_what_is_asked_for_is_there(path: Path) -> None:
    """A metric that was renamed would leave a rule that never fires."""
    known = samples()
    if path.suffix == ".md":  # a page may speak of a histogram as such
        known |= {metric.full_name: {label.name for label in metric.labels} for metric in METRICS}
    asked = asked_for(path.read_text().replace(r"\"", '"'))

    assert len(asked) > 5
    for name, labels in asked:
        assert name in known, name
        assert labels <= known[name] | {"instance"}, name


def test_the_dashboard_is_that_of_today() -> None:
    """It is written from its panels; whoever changes them writes it anew."""
    assert DASHBOARD.read_text() == dashboard(), "run `make docs` and commit what it writes"


def test_the_dashboard_s_panels_lie_beside_each_other() -> None:
    """None over another, and none out of the grid."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(dashboard())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, panel["title"]
        taken |= cells


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    """As a rule that records it, with the interval that Grafana puts in."""
    queries = [query.replace("$__rate_interval", "5m") for panel in PANELS for query in panel.queries.values()]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    code, said = promtool("check", "rules", path)

    assert code == 0, said
    assert f"{len(queries)} rules found" in said
