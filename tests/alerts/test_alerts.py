"""An alert must be tested, explained, and ask only for what exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.export.metrics import METRICS
from tests.needs import need

ALERTS = Path(__file__).resolve().parents[2] / "alerts"
COMMAND = "sudo apt-get install -y --no-install-recommends prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ALERTS / "trimtab.rules.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
TESTS: list[dict[str, Any]] = yaml.safe_load((ALERTS / "trimtab.test.yaml").read_text(encoding="utf-8"))["tests"]
every_rule = pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])


@every_rule
def test_every_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever is woken must find a sentence, a severity and a heading in the runbook."""
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook"] == f"alerts/RUNBOOK.md#{rule['alert'].lower()}"
    runbook = (ALERTS / "RUNBOOK.md").read_text(encoding="utf-8")
    section = runbook.partition(f"\n## {rule['alert']}\n")[2].partition("\n## ")[0]
    for part in ("**Means.**", "**By itself.**", "**Look at.**", "**Do.**"):
        assert part in section


def test_the_runbook_has_no_heading_without_an_alert() -> None:
    """A removed alert leaves no advice behind."""
    headings = re.findall(r"^## (\w+)$", (ALERTS / "RUNBOOK.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in RULES)


@every_rule
def test_every_alert_asks_only_for_what_is_exported(rule: dict[str, Any]) -> None:
    """A renamed metric must not silence an alert."""
    declared = {metric.name: set(metric.labels) for metric in METRICS}
    used = re.findall(r"(trimtab_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert used
    for metric, selector in used:
        assert metric in declared
        assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", selector)) <= declared[metric]


@every_rule
def test_every_alert_is_seen_firing_and_silent(rule: dict[str, Any]) -> None:
    """The promtool tests must know both states of each alert, with labels that the agent really exports."""
    cases = [case for test in TESTS for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


def test_the_promtool_tests_feed_series_that_the_agent_exports() -> None:
    """A test with invented labels would prove nothing."""
    declared = {metric.name: set(metric.labels) | {"job", "instance"} for metric in METRICS}
    for series in (item["series"] for test in TESTS for item in test["input_series"]):
        name, _, labels = series.partition("{")
        assert set(re.findall(r"(\w+)=\"", labels)) == declared[name], series


def test_promtool_passes_the_rules_and_their_tests() -> None:
    """Silent one minute before, firing on the minute."""
    promtool = need("promtool", COMMAND)
    for command in (("check", "rules", "trimtab.rules.yaml"), ("test", "rules", "trimtab.test.yaml")):
        ran = subprocess.run([promtool, *command], cwd=ALERTS, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
