"""The alerts fire when they must, and name nothing that nobody exports; each leads to a paragraph of the runbook.

promtool (of Debian's package `prometheus`) parses and runs the rules; where it is missing, those tests are skipped.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from operate.metrics import METRICS
from operate.places import KNOWN
from operate.status import CAUSES
from tests.support.manifests import KNATIVE, ROOT

COMPONENT = KNATIVE / "components" / "observability"
UNIT_TESTS = Path(__file__).parent / "observability" / "rules_test.yaml"
RULES = yaml.safe_load((COMPONENT / "rules.yaml").read_text())["spec"]
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((COMPONENT / "dashboard.json").read_text())
SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
KNATIVES = set(re.findall(r"^\| `([a-z_]+)` \|", RUNBOOK.partition("## Knative's own series")[2], re.MULTILINE))
"""Knative's own series, as the runbook lists them."""

SUFFIX = re.compile(r"_(bucket|count|sum)$")


def promtool(*arguments: str | Path) -> str:
    """Run it, and return what it said; it must succeed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is missing: it comes with Debian's package prometheus (.ci/run)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names(expression: str) -> set[str]:
    """Return the series that an expression reads: a word that is no label, no function and no number."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(by|on|without) *\([^)]*\)", " ", expression)
    return set(re.findall(r"\b(?:shop|kn|kafka|event)_[a-z_]+\b", bare))


@pytest.mark.ci
def test_the_alerts_fire_when_they_must(tmp_path: Path) -> None:
    """Their unit tests, run by Prometheus' own tool; each alert has one."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    shutil.copy(UNIT_TESTS, tmp_path)
    promtool("test", "rules", tmp_path / UNIT_TESTS.name)


def test_each_alert_has_a_unit_test_in_which_it_fires() -> None:
    """What never fired is no alert."""
    tests = [each for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"] for each in test["alert_rule_test"]]
    assert {each["alertname"] for each in tests if each["exp_alerts"]} == {alert["alert"] for alert in ALERTS}


def test_every_expression_is_understood(tmp_path: Path) -> None:
    """Of the alerts and of the dashboard, each panel's as a rule."""
    shown = [{"record": f"shown:{number}", "expr": expression} for number, expression in enumerate(SHOWN)]
    groups = [*RULES["groups"], {"name": "dashboard", "rules": shown}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    assert f"{len(ALERTS) + len(SHOWN)} rules found" in promtool("check", "rules", tmp_path / "rules.yaml")


@pytest.mark.parametrize("expression", [*(alert["expr"] for alert in ALERTS), *SHOWN])
def test_every_name_is_exported(expression: str) -> None:
    """By the console, or by Knative as the runbook says."""
    found = names(expression)
    assert found
    assert found <= METRICS.keys() | KNATIVES | {name for name in found if SUFFIX.sub("", name) in KNATIVES}


def test_what_is_exported_is_shown() -> None:
    """No gauge is there for nobody, and no series of Knative is listed for nothing."""
    shown = {name for expression in SHOWN for name in names(expression)}
    assert METRICS.keys() <= shown
    assert {SUFFIX.sub("", name) for name in shown} >= KNATIVES


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as renderers make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_leads_to_its_paragraph(alert: dict[str, Any]) -> None:
    """Which names it, and says how long until it heals by itself."""
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert anchor in anchors(RUNBOOK)
    (paragraph,) = (text for text in RUNBOOK.split("\n## ")[1:] if anchor in anchors(f"## {text}"))
    assert f"`{alert['alert']}`" in paragraph
    for step in ("**Look.**", "**Decide.**", "**Do.**", "**By itself.**"):
        assert step in paragraph, step
    assert alert["labels"]["severity"] in {"page", "ticket"}


def test_the_runbook_names_every_cause_that_the_status_tells() -> None:
    """And every consumer that may fail."""
    for name in (*CAUSES, *KNOWN):
        assert f"`{name}`" in RUNBOOK, name


def test_knative_keeps_the_flag_of_our_traces() -> None:
    """With a protocol and no rate it clears it; both namespaces are told the same."""
    settings = list(yaml.safe_load_all((COMPONENT / "cluster" / "config-observability.yaml").read_text()))
    assert {each["metadata"]["namespace"] for each in settings} == {"knative-serving", "knative-eventing"}
    for each in settings:
        assert each["metadata"]["name"] == "config-observability"
        assert each["data"]["tracing-endpoint"]
        assert float(each["data"]["tracing-sampling-rate"]) > 0
    assert settings[0]["data"]["request-metrics-protocol"] == "prometheus"


def test_the_console_is_read_where_it_answers() -> None:
    """Its pods, its path."""
    monitor = next(yaml.safe_load_all((COMPONENT / "monitors.yaml").read_text()))
    console = yaml.safe_load_all((KNATIVE / "components" / "console" / "console.yaml").read_text())
    services = [each["metadata"]["name"] for each in console if each["kind"] == "Service"]
    assert list(monitor["spec"]["selector"]["matchLabels"].values()) == services
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics"
