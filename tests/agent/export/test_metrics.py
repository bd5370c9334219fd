"""The metrics must be readable by Prometheus, complete, and told the same everywhere."""

from __future__ import annotations

import inspect
import re
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent.export.exemplars import EXEMPLARS
from agent.export.metrics import LABEL_CHARS, METRICS, Known, Metric, ProcessInfo, bounded, reference, render
from agent.export.reads import READS
from agent.export.table import OF_EACH
from agent.store import Store, convert
from agent.store.figures import MISMATCHES, figures
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
    quality_objective=0.8,
    loop_lag_s={"watch": 0.2, "judge": 1.5},
    loop_round_s={"watch": 0.1, "judge": 0.5},
    loop_faults={"watch": 0, "judge": 2},
    database_limit_bytes=2 * 1024**3,
    judge={"chosen": 640, "over_budget": 15, "failed": 6},
    judge_budget_left=7.5,
    alerts={"retrain": 3},
    budgets={"gpu_hours": 0.25},
    frozen_at=story.START,
)
NOT_IN_THE_STORY = {
    "trimtab_rollout_last_rolled_back_timestamp_seconds",
    "trimtab_rollout_promoted_timestamp_seconds",
    "trimtab_adapter_mismatch_timestamp_seconds",
    "trimtab_order_heartbeat_timestamp_seconds",
    "trimtab_drift_distance",
}
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


def known(store: Store) -> Known:
    """What is known of a store at the end of the story."""
    seen = snapshot(store, "home", story.at(story.ROWS), charts=False)
    return Known(seen=seen, figures=figures(store, "home"), process=PROCESS)


def rendered(store: Store) -> tuple[Parsed, dict[str, str]]:
    """The metrics of a store, read back."""
    return parse(render(known(store)).decode())


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
    assert missing == NOT_IN_THE_STORY


def test_a_follower_exports_itself_and_leaves_the_fleet_to_the_leader(store: Store) -> None:
    """Sums over the pods of one database must count nothing twice."""
    story.tell(store)
    seen = known(store)
    everything = parse(render(seen).decode())[0]
    follower = parse(render(replace(seen, process=replace(seen.process, leads=False))).decode())[0]
    assert {name for name, _ in follower} == {name for name, _ in everything} & OF_EACH
    assert follower.items() <= everything.items()


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


def test_a_peak_between_two_scrapes_is_seen_for_five_minutes(store: Store) -> None:
    """An alarm starts the evidence anew: who draws only where it stands never sees what raised it."""
    story.tell(store)
    now = story.START + timedelta(days=1)
    spoken = ((1500, 3.5, timedelta(minutes=6)), (1501, 2.5, timedelta(minutes=4)), (1502, 0.5, timedelta()))
    with store.transaction() as session:
        for rowid, evidence, ago in spoken:
            session.add_all(
                convert.detector_rows(
                    exchange_rowid=rowid, window_id="live", version="home-v2", at=now - ago, reference_rows=300,
                    reference_wanted=300, evidence=evidence, threshold=story.THRESHOLD,
                )
            )  # fmt: skip
    shown = {}
    for later in (timedelta(), timedelta(hours=1)):
        seen = snapshot(store, "home", now + later, charts=False)
        samples, _ = parse(render(replace(known(store), seen=seen)).decode())
        shown[later] = [
            value(samples, f"trimtab_drift_evidence{form}_log10", alias="home", version="home-v2")
            for form in ("", "_peak")
        ]
    assert shown == {timedelta(): [0.5, 2.5], timedelta(hours=1): [0.5, 0.5]}


def test_an_alarm_is_as_old_as_its_raising_not_as_the_exchange_that_raised_it(store: Store) -> None:
    """Exchanges may be handed in a day later: who is told of what is newer than half an hour would never be told."""
    story.tell(store)
    store.record("alarm", "raised over yesterday's exchanges", raised := story.START + timedelta(days=2))
    samples, _ = rendered(store)
    assert value(samples, "trimtab_drift_last_alarm_timestamp_seconds", alias="home") == raised.timestamp()


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
    text = render(known(store))
    ran = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr.decode(), ran.stdout.decode()) == (0, "", "")


def test_the_readme_lists_what_is_exported() -> None:
    """The reference in the README is generated from the table and must be current."""
    begin, end = "<!-- metrics -->\n", "<!-- /metrics -->"
    text = README.read_text(encoding="utf-8")
    shown = text[text.index(begin) + len(begin) : text.index(end)]
    assert shown == reference(), "run: python -m agent.export"


def test_every_metric_has_one_reader_and_every_reader_a_metric() -> None:
    """Table and readers must name the same metrics, each once, in Prometheus's own form of names."""
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    assert set(names) == set(READS) | {"trimtab_export_left_out"}
    assert set(EXEMPLARS) <= {metric.name for metric in METRICS if metric.kind == "counter"}
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith((".", "(capture.keep_bytes)."))
        assert metric.most == 1 or metric.labels
        assert metric.unit


def test_openmetrics_says_the_same_and_names_exchanges(store: Store) -> None:
    """The other format must hold the same numbers; its exemplars lead to exchanges that are in the store."""
    story.tell(store)
    text = render(known(store), openmetrics=True).decode()
    assert text.endswith("# EOF\n")
    families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples]
    read_back = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
    assert read_back == rendered(store)[0]
    ids = {s.name: s.exemplar.labels["exchange_id"] for s in samples if s.exemplar}
    assert set(ids) == set(EXEMPLARS) - {"trimtab_capture_unreadable_total"}
    assert all(store.exchange(exchange_id) is not None for exchange_id in ids.values())
    whole = {("alias", "home"), ("version", "home-v2"), ("outcome", "complete")}
    marks = [s.exemplar for s in samples if s.name == "trimtab_exchanges_total" and set(s.labels.items()) == whole]
    assert marks[0].labels["exchange_id"] == "chatcmpl-1240"
    assert float(marks[0].timestamp) == story.at(1240).timestamp()


def test_an_exemplar_that_is_too_long_is_left_away(store: Store) -> None:
    """OpenMetrics allows 128 characters; one long id must not spoil a whole scrape."""
    from agent.types import Grade

    story.tell(store)
    store.add_grades([Grade(exchange_id="x" * 130, source="Ann", score=1, truth=True, at=story.at(story.ROWS))])
    text = render(known(store), openmetrics=True).decode()
    assert 'source="Ann"} 1.0\n' in text
    list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


COUNTER = Metric("counter", "x_total", "things", ("alias", "source"), 3, "Things.")


def test_a_counter_beyond_its_bound_is_added_up() -> None:
    """However many label values come in, no count is lost and no more series than declared go out."""
    samples = [(("home", f"s{n}"), float(n)) for n in range(10)]
    kept, left_out = bounded(COUNTER, samples)
    assert kept == [(("home", "s0"), 0.0), (("home", "s1"), 1.0), (("home", "other"), 44.0)]
    assert left_out == 7
    assert bounded(COUNTER, samples[:3]) == (samples[:3], 0)


def test_a_gauge_beyond_its_bound_is_left_out_and_counted() -> None:
    """The sum of gauges says nothing: the rest is left out, aloud."""
    samples = [(("home", f"s{n}"), float(n)) for n in range(10)]
    assert bounded(replace(COUNTER, kind="gauge"), samples) == (samples[:3], 7)


def test_what_clients_choose_cannot_blow_up_a_scrape(store: Store) -> None:
    """A thousand feedback sources and a name of a thousand letters must end in the declared number of series."""
    from agent.types import Grade

    def given(n: int) -> Grade:
        return Grade(exchange_id=f"x{n}", source=f"{n:04}" + "z" * 1000, score=1, truth=True, at=story.START)

    store.add_grades([given(n) for n in range(1000)])
    samples, _ = rendered(store)
    found = {dict(labels)["source"]: n for (name, labels), n in samples.items() if name == "trimtab_feedback_total"}
    assert len(found) == 50
    assert sum(found.values()) == 1000
    assert found["other"] == 951
    assert max(map(len, found)) == LABEL_CHARS
    assert value(samples, "trimtab_export_left_out") == 950


def test_a_mismatch_is_found_in_the_words_that_the_rollout_uses(store: Store) -> None:
    """Served is not what was evaluated: the record's own words are what the metric is read from."""
    from agent.rollout import act, hold

    source = inspect.getsource(act) + inspect.getsource(hold)
    for pattern in MISMATCHES:
        assert pattern.strip("% ") in source
    assert figures(store, "home").mismatch_at is None
    said = "home-v2 at /a is not what was evaluated: digest 3b1f instead of c90e"
    store.record("unservable", said, story.at(5))
    store.record("rollout", "home-v2 answers 10% of users", story.at(6))
    assert figures(store, "home").mismatch_at == story.at(5)


def test_distances_are_those_of_the_newest_window(store: Store) -> None:
    """The drift board must show the newest window of the versions that answer, the greatest distance first."""
    from agent.store.tables import ReadingRow

    story.tell(store)

    def row(window: str, feature: str, value: float) -> ReadingRow:
        return ReadingRow(
            exchange_rowid=100, window_id=window, version="home-v1", feature=feature, measure="ks", value=value,
            at=story.START,
        )  # fmt: skip

    with store.transaction() as session:
        session.add_all([row("w1", "digits", 0.9), row("w2", "digits", 0.1), row("w2", "words", 0.3)])
    far = [(d.feature, d.value) for d in figures(store, "home").distances]
    assert far == [("words", 0.3), ("digits", 0.1)]
    samples, _ = rendered(store)
    labels = {"alias": "home", "version": "home-v1", "feature": "words", "measure": "ks"}
    assert value(samples, "trimtab_drift_distance", **labels) == 0.3
