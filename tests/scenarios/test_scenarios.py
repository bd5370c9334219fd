"""The scenarios themselves: seeded, changed where they say, and scored as they say."""

from __future__ import annotations

import io
import itertools
import json
import math
import random
import sys
from pathlib import Path

import pytest

from tests.scenarios.__main__ import BEGIN, END, Job, gather, jobs_of, work, write
from tests.scenarios.changes import BEFORE_ROWS, CHANGES, REFERENCE_ROWS, stream
from tests.scenarios.peers import AS_SHIPPED, PLUS, TRIMTAB
from tests.scenarios.scoring import Run, Score, broken, tables
from tests.scenarios.shapes import DAY_ROWS, SHAPES
from tests.scenarios.sources import source

KS, ADWIN = "KS p < 0.05", "river ADWIN"


@pytest.mark.parametrize("change", [name for name, change in CHANGES.items() if not change.sources])
def test_a_stream_changes_where_it_says(change: str) -> None:
    """A seed gives one stream; before the change it is the unchanged one's kind, and about the share is altered."""
    rows = BEFORE_ROWS + 500
    one = stream("made", "independent", CHANGES[change], seed=3, rows=rows)
    again = stream("made", "independent", CHANGES[change], seed=3, rows=rows)
    assert one == again
    assert (len(one.reference), len(one.live), one.change_at) == (REFERENCE_ROWS, rows, BEFORE_ROWS)
    texts = source("made")
    usual = {pair for pool in texts.usual.values() for pair in pool}
    odd = [(e.prompt, e.answer) not in usual or e.total_s > 12 for e in one.live]
    assert not any((e.prompt, e.answer) not in usual for e in one.live[:BEFORE_ROWS])
    if not change.startswith("latency"):
        spec = CHANGES[change]
        expected = sum(spec.share_at(row) for row in range(500))
        assert abs(sum(odd[BEFORE_ROWS:]) - expected) <= 5 * math.sqrt(expected) + 5


def test_shapes_depend_as_they_say() -> None:
    """Bursts and conversations hold one user and one topic; days bring two thirds by day; growth brings new people."""
    topics = [f"t{n}" for n in range(10)]
    for name in ("bursts", "conversations"):
        slots = list(itertools.islice(SHAPES[name](random.Random(1), topics), 2_000))
        units = [list(unit) for _, unit in itertools.groupby(slots, key=lambda slot: slot.unit)]
        assert all(len({(s.user, s.topic, s.conversation) for s in unit}) == 1 for unit in units)
        assert len(units) < 400
    days = list(itertools.islice(SHAPES["days"](random.Random(1), topics), 8 * DAY_ROWS))
    assert 6 <= (days[-1].at - days[0].at).days <= 10
    assert 0.55 < sum(8 <= slot.at.hour < 20 for slot in days) / len(days) < 0.85
    grown = list(itertools.islice(SHAPES["growth"](random.Random(1), topics), 3_000))
    assert (grown[999].at - grown[0].at) > 2 * (grown[2_999].at - grown[2_000].at)
    for slots in (days, grown):
        assert all(a.at <= b.at for a, b in itertools.pairwise(slots))


def test_every_topic_has_texts_and_new_ones_are_new() -> None:
    """Usual and new topics of the made source share no name; each has enough texts to draw from."""
    texts = source("made")
    assert texts.usual.keys().isdisjoint(texts.new)
    assert min(map(len, (*texts.usual.values(), *texts.new.values()))) >= 30


def _run(
    seed: int, change: str, events: dict[str, list[tuple[int, float]]], shape: str = "independent", rows: int = 1_000
) -> Run:
    return Run(
        change=change, shape=shape, source="made", seed=seed, rows=rows, change_at=400 if change else None,
        events=events, cpu_s=dict.fromkeys(events, 1.0), learned_rows=1_000,
    )  # fmt: skip


def _level(name: str, over: float) -> float:
    return AS_SHIPPED[name] + over


def test_peers_are_tuned_to_the_budget_and_delays_counted() -> None:
    """A peer that cries wolf is given the lowest threshold that keeps the budget; delays count from the change."""
    quiet = [
        _run(n, "", {TRIMTAB: [], KS: [(99, _level(KS, 0.001 * n))], ADWIN: [(5, 1.0), (9, 2.0)]}) for n in range(50)
    ]
    events = {
        TRIMTAB: [(419, 1.0)],
        KS: [(99, _level(KS, 0.2)), (499, _level(KS, 0.01)), (599, _level(KS, 0.3))],
        ADWIN: [(404, 1.0), (410, 2.0), (431, 3.0)],
    }
    changed = [_run(n, "topics 10 %", events) for n in range(3)]
    score = Score([*quiet, *changed], budget_windows=500)
    assert score.levels[TRIMTAB] == 1.0
    assert _level(KS, 0.048) < (score.levels[KS] or 0) <= _level(KS, 0.049)  # one alarm in 500 windows is allowed
    assert score.levels[ADWIN] == 3.0
    mine = score.found(TRIMTAB, "topics 10 %", "independent")
    assert mine is not None
    assert (mine.found, mine.streams, mine.median, mine.early) == (3, 3, 20, 0)
    slow = score.found(KS, "topics 10 %", "independent")
    assert slow is not None
    assert (slow.median, slow.early) == (200, 3)
    best = score.best_peer("topics 10 %", "independent", plus=False)
    assert best is not None
    assert (best.name, best.median) == (ADWIN, 32)
    assert score.best_peer("topics 10 %", "independent", plus=True) is None
    assert broken(score) == ["topics 10 %: delay 20, river ADWIN needs 32"]


def test_what_is_out_of_bounds_is_said() -> None:
    """False alarms beyond twice the promise, a missed change and slowness under dependence each give a sentence."""
    runs = [_run(n, "", {TRIMTAB: [(7, 1.0)] if n < 3 else []}) for n in range(50)]
    runs += [_run(n, "refusals 10 %", {TRIMTAB: [(409, 1.0)] if n else []}) for n in range(5)]
    runs += [_run(n, "refusals 10 %", {TRIMTAB: [(499, 1.0)]}, "bursts") for n in range(5)]
    score = Score(runs, budget_windows=500)
    assert broken(score) == [
        "3 false alarms on independent quiet streams, promised 1.0",
        "refusals 10 %: found in 4 of 5 streams",
        "refusals 10 %, bursts: 10 times the delay of independent records (5/5, 100)",
    ]
    assert "| refusals 10 % | 4/5, 10 | 5/5, 100 |" in tables(score)


def test_the_table_stands_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is outside the marks stays; a page without marks is refused."""
    monkeypatch.setattr("tests.scenarios.__main__.OUT", tmp_path)
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n")
    score = Score([_run(0, "", {TRIMTAB: []}), _run(0, "loops 10 %", {TRIMTAB: []})], budget_windows=500)
    write(score, tables(score), "how", page)
    assert page.read_text().startswith(f"before\n{BEGIN}\nhow\n")
    assert page.read_text().endswith(f"{END}\nafter\n")
    assert "stale" not in page.read_text()
    assert json.loads((tmp_path / "scores.json").read_text())["found"][0]["median"] is None
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="no marks"):
        write(score, "x", "how", page)


def test_a_stream_is_heard_by_a_worker(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker reads jobs and says what the detector said: the change is found, nothing before it."""
    job = {"change": "topics 30 %", "shape": "independent", "source": "made", "seed": 0, "rows": BEFORE_ROWS + 300}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(job) + "\n"))
    work(TRIMTAB, 500)
    said = json.loads(capsys.readouterr().out)
    assert said["change_at"] == BEFORE_ROWS
    rows = [row for row, _ in said["events"][TRIMTAB]]
    assert rows
    assert rows[0] >= BEFORE_ROWS


def test_peers_hear_the_same_stream_in_their_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds on windows give an event a window, with and without the shares of new words."""
    pytest.importorskip("river", reason="river is not installed; get it with: pip install 'trimtab[river]'")
    monkeypatch.setattr("tests.scenarios.__main__.OUT", tmp_path)
    jobs = [Job("topics 100 %", "independent", "made", 0, BEFORE_ROWS + 200)]
    run = gather(jobs, 500, 1, ["plain"])[0]
    assert [row for row, _ in run.events[KS]] == list(range(99, BEFORE_ROWS + 200, 100))
    assert all(a[1] <= b[1] for a, b in zip(run.events[KS], run.events[KS + PLUS], strict=True))
    assert run.delay(KS + PLUS, AS_SHIPPED[KS]) == 100
    monkeypatch.setattr("tests.scenarios.__main__.hear", lambda *_: pytest.fail("heard twice"))
    assert gather(jobs, 500, 1, ["plain"]) == [run]
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]


def test_the_list_of_streams_covers_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 independent quiet streams, every dependent kind, and every change on every source where it makes sense."""
    monkeypatch.setattr("tests.scenarios.__main__.available", lambda: ["commands", "made"])
    jobs = jobs_of(200, 1_000)
    assert sum(not job.change and job.shape == "independent" for job in jobs) == 200
    assert {job.shape for job in jobs if not job.change} == set(SHAPES)
    assert {job.change for job in jobs} == {"", *CHANGES}
    assert len(set(jobs)) == len(jobs)
