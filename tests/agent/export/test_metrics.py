"""The metrics must be readable by Prometheus, complete, and told the same everywhere."""

from __future__ import annotations

import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.export.metrics import METRICS, ProcessInfo, reference, render
from agent.store import Store
from agent.store.snapshot import snapshot
from tests.estate import story
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).resolve().parents[3] / "agent" / "export" / "README.md"
PROCESS = ProcessInfo(
    version="0.1.0",
    started_at=story.START,
    resident_bytes=99_000_000,
    judge_enabled=True,
    quality_floor=0.7,
    loop_lag_s={"watch": 0.2, "judge": 1.5},
    loop_faults={"watch": 0, "judge": 2},
)
SAMPLE = re.compile(r'^([a-z_0-9]+)(?:\{((?:[a-z_0-9]+="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\S+)$')
LABEL = re.compile(r'([a-z_0-9]+)="((?:[^"\\\n]|\\[\\n"])*)"')

Parsed = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> tuple[Parsed, dict[str, str]]:
    """A strict reader of the text format 0.0.4, written from its specification alone."""
    samples: Parsed = {}
    types: dict[str, str] = {}
    helped: set[str] = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        else:
            found = SAMPLE.match(line)
            assert found is not None, line
            name, labels, value = found[1], frozenset(LABEL.findall(found[2] or "")), float(found[3])
            assert name in types, f"{name} comes before its type"
            assert (name, labels) not in samples, line
            samples[name, labels] = value
    return samples, types


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty real store."""
    opened = Store.at(tmp_path)
    yield opened
    opened.close()


def rendered(store: Store) -> tuple[Parsed, dict[str, str]]:
    """The metrics of a store, read back."""
    return parse(render(snapshot(store, "home", story.at(story.ROWS)), PROCESS).decode())


def value(samples: Parsed, name: str, **labels: str) -> float:
    """One sample by its labels."""
    return samples[name, frozenset(labels.items())]


def test_every_declared_metric_is_exported_and_no_other(store: Store) -> None:
    """After one turn of the loop each line of the table must have a sample with exactly its labels."""
    story.tell(store)
    samples, types = rendered(store)
    assert types == {metric.name: metric.kind for metric in METRICS}
    declared = {metric.name: set(metric.labels) for metric in METRICS}
    for name, labels in samples:
        assert {key for key, _ in labels} == declared[name]
    missing = set(declared) - {name for name, _ in samples}
    assert missing == {"trimtab_rollout_last_rolled_back_timestamp_seconds"}


def test_the_numbers_are_those_of_the_store(store: Store) -> None:
    """What a monitor reads must be what the store holds."""
    story.tell(store)
    samples, _ = rendered(store)
    assert value(samples, "trimtab_capture_dropped_total") == 2
    assert value(samples, "trimtab_capture_lost") == 3
    assert value(samples, "trimtab_exchanges_total", alias="home", version="home-v1", outcome="client_gone") >= 1
    assert value(samples, "trimtab_drift_alarms_total", alias="home") == 1
    assert value(samples, "trimtab_drift_threshold_log10", alias="home", version="home-v1") == story.THRESHOLD
    assert value(samples, "trimtab_rollout_weight", alias="home", version="home-v2") == 0.5
    assert value(samples, "trimtab_order_status", alias="home", status="done") == 1
    assert value(samples, "trimtab_order_status", alias="home", status="failed") == 0
    assert value(samples, "trimtab_feedback_total", source="recogniser") == 123
    assert value(samples, "trimtab_judge_tokens_total") == 31 * 619
    assert value(samples, "trimtab_loop_faults_total", loop="judge") == 2
    low, high = (value(samples, f"trimtab_quality_{end}", alias="home", version="home-v2") for end in ("low", "high"))
    assert low < value(samples, "trimtab_quality_estimate", alias="home", version="home-v2") < high


def test_an_empty_store_exports_zeros_not_guesses(store: Store) -> None:
    """Before the first exchange counters are 0 and unknown numbers are absent."""
    samples, _ = rendered(store)
    names = {name for name, _ in samples}
    assert value(samples, "trimtab_capture_stored_total") == 0
    assert value(samples, "trimtab_orders", alias="home", status="failed") == 0
    assert not names & {"trimtab_quality_estimate", "trimtab_drift_evidence_log10", "trimtab_rollout_weight"}


def test_hostile_label_values_stay_inside_their_quotes(store: Store) -> None:
    """A source named with quotes and line ends must not break the format."""
    story.tell(store)
    from agent.types import Grade

    mark = Grade(exchange_id="x", source='a"b\\c\nd', score=1, truth=True, at=story.START + timedelta(days=1))
    store.add_grades([mark])
    samples, _ = rendered(store)
    assert value(samples, "trimtab_feedback_total", source='a\\"b\\\\c\\nd') == 1


def test_promtool_finds_nothing_to_say(store: Store) -> None:
    """Prometheus's own checker must accept names, types and text."""
    promtool = need("promtool", "sudo apt-get install -y --no-install-recommends prometheus")
    story.tell(store)
    text = render(snapshot(store, "home", story.at(story.ROWS)), PROCESS)
    ran = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr.decode(), ran.stdout.decode()) == (0, "", "")


def test_the_readme_lists_what_is_exported() -> None:
    """The reference in the README is generated from the table and must be current."""
    begin, end = "<!-- metrics -->\n", "<!-- /metrics -->"
    text = README.read_text(encoding="utf-8")
    shown = text[text.index(begin) + len(begin) : text.index(end)]
    assert shown == reference(), "run: python -m agent.export"
