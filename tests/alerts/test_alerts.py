"""An alert must be tested, explained, and ask only for what exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.export.table import METRICS
from agent.policy.asks import ACTIONS, LABEL, MOST_ALERTS
from agent.settings import Settings
from tests.needs import need

ALERTS = Path(__file__).resolve().parents[2] / "alerts"
COMMAND = "sudo apt-get install -y --no-install-recommends prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ALERTS / "trimtab.rules.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
RECORDS = [rule for rule in RULES if "record" in rule]
RULES = [rule for rule in RULES if "alert" in rule]
EVERYWHERE = {"namespace", "job", "instance"}
"""Labels that Prometheus adds when it scrapes."""
TESTS: list[dict[str, Any]] = yaml.safe_load((ALERTS / "trimtab.test.yaml").read_text(encoding="utf-8"))["tests"]
every_rule = pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])


@every_rule
def test_every_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever is woken must find a sentence, a severity and a heading in the runbook."""
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")
    assert "for" in rule
    assert rule["annotations"]["runbook_url"] == f"alerts/RUNBOOK.md#{rule['alert'].lower()}"
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
    recorded = {record["record"] for record in RECORDS}
    queries = re.findall(r'printf "([^"]*)"', rule["annotations"]["description"])
    text = " ".join((rule["expr"], *(query.replace("%s", "x").replace("'", '"') for query in queries)))
    assert set(re.findall(r"trimtab:[\w:]+", text)) <= recorded
    used = re.findall(r"(trimtab_\w+)(?:\{([^}]*)\})?", text)
    assert used or "trimtab:" in text
    for metric, selector in used:
        assert metric in declared
        assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", selector)) <= declared[metric] | EVERYWHERE


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


def test_recording_rules_ask_only_for_what_is_exported_and_are_used() -> None:
    """A recorded series that nobody reads is work for nothing; one that reads nothing is a lie."""
    declared = {metric.name for metric in METRICS}
    asked = " ".join(rule["expr"] for rule in (*RULES, *RECORDS))
    for record in RECORDS:
        assert set(re.findall(r"trimtab_\w+", record["expr"])) <= declared
        assert record["record"] in asked


@every_rule
def test_what_an_alert_may_ask_for_is_known_to_the_policy(rule: dict[str, Any]) -> None:
    """A wish that the agent refuses would be no wish."""
    assert rule["labels"].get(LABEL, "watch") in ACTIONS
    assert set(rule["labels"]) <= {"severity", LABEL}


def test_every_alert_is_tested_on_the_minute() -> None:
    """Between the last silence and the first alarm of a test there is one minute and no more."""
    for test in TESTS:
        times = [(minutes(case["eval_time"]), bool(case["exp_alerts"])) for case in test["alert_rule_test"]]
        first = next((at for at, fires in times if fires), None)
        before = [at for at, fires in times if first is not None and not fires and at < first]
        assert not before or max(before) == (first or 0) - 1, test["name"]


def minutes(text: str) -> int:
    """Of `1h30m`."""
    hours, rest = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?", text).groups()  # type: ignore[union-attr]
    return int(hours or 0) * 60 + int(rest or 0)


def test_the_example_for_alertmanager_is_valid_and_sends_wishes_to_the_agent() -> None:
    """Who copies it must get what the README promises."""
    amtool = need("amtool", "sudo apt-get install -y --no-install-recommends prometheus-alertmanager")
    example = ALERTS / "alertmanager.example.yaml"
    ran = subprocess.run([amtool, "check-config", str(example)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    document = yaml.safe_load(example.read_text(encoding="utf-8"))
    route = document["route"]["routes"][0]
    assert route["matchers"] == [f'{LABEL} =~ ".+"']
    hook = next(r for r in document["receivers"] if r["name"] == route["receiver"])["webhook_configs"][0]
    assert hook["url"].endswith(f":{Settings().http.port}/v1/alerts")
    assert hook["max_alerts"] <= MOST_ALERTS
    named = set(re.findall(r"Trimtab[A-Z]\w+", example.read_text(encoding="utf-8")))
    assert named <= {rule["alert"] for rule in RULES}
