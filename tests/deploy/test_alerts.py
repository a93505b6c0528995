"""What an operator looks at: every metric is explained, and alerts and dashboard are of these."""

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from app.web.catalogue import METRICS, Kind
from tests.server import ROOT

ALERTS = ROOT / "deploy" / "alerts.yml"
TRIALS = ROOT / "deploy" / "alerts_test.yml"
DASHBOARD = ROOT / "deploy" / "grafana.json"
OPERATION = (ROOT / "docs" / "operation.md").read_text()

pytestmark = pytest.mark.once


def names_of(kind: Kind, name: str) -> set[str]:
    """What Prometheus calls the series of a metric."""
    if kind is Kind.HISTOGRAM:
        return {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return {f"{name}_total"} if kind is Kind.COUNTER else {name}


SERIES = {name for each in METRICS.values() for name in names_of(each.kind, each.name)}


def named_in(expression: str) -> set[str]:
    """The metrics of an expression."""
    return set(re.findall(r"\blive_\w+", expression))


def documented() -> list[str]:
    """The metrics of the tables of docs/operation.md, in its order."""
    return re.findall(r"^\| `(live_\w+)` \|", OPERATION, re.MULTILINE)


def test_every_metric_is_in_the_table_and_no_other() -> None:
    told = [
        f"{each.name}_total" if each.kind is Kind.COUNTER else each.name
        for each in METRICS.values()
    ]
    assert sorted(documented()) == sorted(told)


def test_alerts_fire_for_faults_and_not_without(promtool: str) -> None:
    run(promtool, "check", "rules", str(ALERTS))
    run(promtool, "test", "rules", str(TRIALS))
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    assert len(alerts) > 15
    tried = re.findall(r"- name: (Live\w+)$", TRIALS.read_text(), re.MULTILINE)
    assert sorted(tried) == sorted(alerts)


def test_alerts_are_of_metrics_that_exist() -> None:
    expressions = re.findall(r"expr: (.+)", ALERTS.read_text())
    assert len(expressions) > 15
    for expression in expressions:
        assert named_in(expression), expression
        assert named_in(expression) <= SERIES, expression


def panels() -> list[dict[str, Any]]:
    """All of the dashboard, its rows included."""
    content: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return content


def expressions() -> Iterator[str]:
    """What the dashboard asks Prometheus for."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_dashboard_has_a_place_for_everything() -> None:
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows == ["Clients", "Work", "Feed", "Database", "Limits"]
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in panels()], 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above, (one, other)


def test_dashboard_asks_whichever_prometheus_is_chosen() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["schemaVersion"] >= 38  # Grafana 10
    variables = {each["name"]: each["type"] for each in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    for panel in panels():
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all(each["datasource"]["uid"] == "${datasource}" for each in panel["targets"])
            references = [each["refId"] for each in panel["targets"]]
            assert len(set(references)) == len(references)


def test_dashboard_shows_every_metric_and_no_other(promtool: str, tmp_path: Path) -> None:
    shown: set[str] = set()
    rules = "groups:\n- name: dashboard\n  rules:\n"
    for number, expression in enumerate(expressions()):
        assert named_in(expression) <= SERIES, expression
        shown |= named_in(expression)
        # Prometheus knows Grafana's variables as little as this test does.
        text = expression.replace("$__rate_interval", "5m").replace("$instance", "a")
        rules += f"  - record: panel:{number}\n    expr: {json.dumps(text)}\n"
    for metric in METRICS.values():
        assert names_of(metric.kind, metric.name) & shown, metric.name
    file = tmp_path / "dashboard.yml"
    file.write_text(rules)
    run(promtool, "check", "rules", str(file))


def run(*command: str) -> None:
    """Expect a command to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
