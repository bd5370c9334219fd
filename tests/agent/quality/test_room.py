"""The quality room over a real store: judging behind a cursor, feedback, estimates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from agent.quality import room
from agent.quality.room import estimate_once, feedback, judge_once, judge_totals
from agent.settings import QualitySettings, Settings
from agent.store import Store
from agent.store.tables import EstimateRow
from agent.types import Exchange, Grade, InvalidInput, Message, Outcome, RemoteFault

T0 = datetime(2026, 11, 24, tzinfo=UTC)


class FakeJudge:
    """Says 0.8 of everything; is down while `down`, dies (as by SIGKILL) when `dies_at` answers were asked for."""

    source = "judge"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False
        self.dies_at: int | None = None

    def grade(self, exchange: Exchange, now: datetime) -> Grade:
        """One grade."""
        self.asked.append(exchange.id)
        if self.dies_at is not None and len(self.asked) >= self.dies_at:
            raise KeyboardInterrupt
        if self.down:
            raise RemoteFault("the judge is down")
        return Grade(exchange_id=exchange.id, source="judge", score=0.8, truth=False, at=now, cost_tokens=5)

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = Store.at(tmp_path)
    yield opened
    opened.close()


def settings(**quality: float) -> Settings:
    """Judge everything, as often as one likes, unless told otherwise."""
    return Settings(quality=QualitySettings.model_validate({"sample_share": 1.0, "calls_per_minute": 1e6, **quality}))


def fill(store: Store, n: int, *, version: str = "home-v1", start: int = 0, **changes: object) -> list[str]:
    """Put n exchanges into the store; returns their ids."""
    items = [
        Exchange(
            **{
                "id": f"c{seq}", "worker": "w", "seq": seq, "started_at": T0 + timedelta(seconds=seq),
                "path": "/v1/chat/completions", "alias": "home", "version": version, "status": 200,
                "outcome": Outcome.COMPLETE, "messages": (Message(role="user", text="hi"),), "answer": "ho",
                **changes,
            }  # type: ignore[arg-type]
        )
        for seq in range(start + 1, start + n + 1)
    ]  # fmt: skip
    store.add_exchanges(items)
    return [item.id for item in items]


def label(store: Store, exchange_id: str, *, correct: bool) -> Grade:
    """One truth label."""
    return feedback(
        store, exchange_id, correct=correct, correction=None, source="recogniser", now=T0, redact=lambda s: s
    )


def rows(store: Store) -> list[EstimateRow]:
    """Every estimate that was written."""
    with store.transaction() as session:
        return list(session.exec(select(EstimateRow)).all())


def test_every_chosen_exchange_is_graded_once(store: Store) -> None:
    """Looking again asks nothing again; new exchanges are graded on the next look; totals survive in the store."""
    fill(store, 7)
    judge = FakeJudge()
    first = judge_once(store, judge, settings(), T0, limit=5)
    assert (first.seen, first.chosen, first.graded, first.more) == (5, 5, 5, True)
    assert judge_once(store, judge, settings(), T0, limit=5).graded == 2
    assert judge_once(store, judge, settings(), T0).seen == 0
    assert sorted(judge.asked) == sorted(set(judge.asked))
    assert len(store.graded(after=0)) == 7
    assert judge_totals(store) == {"chosen": 7, "graded": 7, "over_budget": 0, "failed": 0, "cost_tokens": 35}


def test_only_whole_exchanges_of_the_alias_are_judged(store: Store) -> None:
    """Failed, abandoned, cut, wordless and foreign exchanges are passed over."""
    fill(store, 1)
    fill(store, 1, start=1, status=500)
    fill(store, 1, start=2, outcome=Outcome.CLIENT_GONE)
    fill(store, 1, start=3, response_cut_bytes=3)
    fill(store, 1, start=4, messages=())
    fill(store, 1, start=5, alias="home-judge")
    judge = FakeJudge()
    assert judge_once(store, judge, settings(), T0).cursor == 6
    assert judge.asked == ["c1"]


def test_the_budget_is_hard_and_nothing_queues(store: Store) -> None:
    """Ten seconds' worth of calls are made at once; the rest is counted and never asked for later."""
    fill(store, 30)
    judge = FakeJudge()
    found = judge_once(store, judge, settings(calls_per_minute=12), T0)
    assert (found.graded, found.over_budget) == (2, 28)
    fill(store, 30, start=30)
    again = judge_once(store, judge, settings(calls_per_minute=12), T0 + timedelta(seconds=5))
    assert (again.graded, again.over_budget) == (1, 29)


def test_the_sample_share_is_kept(store: Store) -> None:
    """With a share of a quarter about a quarter is judged."""
    fill(store, 200)
    found = judge_once(store, FakeJudge(), settings(sample_share=0.25), T0)
    assert 25 < found.chosen == found.graded < 75


def test_a_judge_that_is_down_costs_grades_and_nothing_else(store: Store) -> None:
    """A dead judge is counted with its words, is not asked for the whole batch, and is asked again next time."""
    fill(store, 40)
    judge = FakeJudge()
    judge.down = True
    found = judge_once(store, judge, settings(), T0)
    assert (found.graded, found.failed, found.fault) == (0, 40, "the judge is down")
    assert len(judge.asked) < 12
    judge.down = False
    fill(store, 3, start=40)
    assert judge_once(store, judge, settings(), T0).graded == 3


def test_an_agent_killed_in_a_batch_repeats_it_within_the_budget(store: Store, tmp_path: Path) -> None:
    """After a kill the batch is judged again, one grade each, and the calls of the lost one stay paid for."""
    fill(store, 6)
    few = settings(calls_per_minute=60)
    judge = FakeJudge()
    judge.dies_at = 3
    with pytest.raises(KeyboardInterrupt):
        judge_once(store, judge, few, T0)
    store.close()
    reopened = Store.at(tmp_path)
    judge.dies_at = None
    found = judge_once(reopened, judge, few, T0)
    assert (found.graded, found.over_budget) == (4, 2)
    assert len(reopened.graded(after=0)) == 4
    reopened.close()


def test_feedback_is_kept_once_and_redacted(store: Store) -> None:
    """The same word twice is one label; the correction is redacted; another word needs another source."""
    fill(store, 1)

    def tell(*, correct: bool, source: str = "ann") -> Grade:
        return feedback(
            store, "c1", correct=correct, correction="call 555-1234", source=source, now=T0,
            redact=lambda s: s.replace("555-1234", "[REDACTED]"),
        )  # fmt: skip

    grade = tell(correct=False)
    assert (grade.score, grade.truth, grade.correction) == (0.0, True, "call [REDACTED]")
    assert tell(correct=False) == grade
    with pytest.raises(InvalidInput, match="another source"):
        tell(correct=True)
    assert tell(correct=True, source="bob").score == 1.0


@pytest.mark.parametrize("source", ["judge", "", "a b", "x" * 65, "\n"])
def test_a_bad_source_is_refused(store: Store, source: str) -> None:
    """The judge's own name and names that are no names cannot give truth."""
    fill(store, 1)
    with pytest.raises(InvalidInput, match="source"):
        feedback(store, "c1", correct=True, correction=None, source=source, now=T0, redact=str)


def test_feedback_on_an_unknown_exchange_says_that_it_may_still_come(store: Store) -> None:
    """An id that is not stored is refused with the advice to try again."""
    with pytest.raises(InvalidInput, match="may not have landed yet"):
        label(store, "c99", correct=True)


def test_no_estimate_before_enough_labels_and_one_row_an_input(store: Store) -> None:
    """Below `min_truth` there is none; unchanged grades write nothing; a new label writes a new row."""
    ids = fill(store, 30)
    for exchange_id in ids[:9]:
        label(store, exchange_id, correct=True)
    assert estimate_once(store, "home-v1", settings(), T0) is None
    label(store, ids[9], correct=False)
    found = estimate_once(store, "home-v1", settings(), T0)
    assert found is not None
    assert found.value == pytest.approx(0.9)
    assert (found.n_truth, found.since, found.until) == (10, T0 + timedelta(seconds=1), T0 + timedelta(seconds=30))
    assert estimate_once(store, "home-v1", settings(), T0 + timedelta(hours=1)) == found
    assert len(rows(store)) == 1
    label(store, ids[10], correct=False)
    estimate_once(store, "home-v1", settings(), T0)
    assert [row.n_truth for row in rows(store)] == [10, 11]
    assert store.last_estimate("home-v1") == estimate_once(store, "home-v1", settings(), T0)


def test_the_window_and_the_onset_bound_the_estimate(store: Store) -> None:
    """Only the newest exchanges of the version count, and only those behind the onset when one is given."""
    ids = fill(store, 60)
    other = fill(store, 20, version="home-v2", start=60)
    for n, exchange_id in enumerate(ids):
        label(store, exchange_id, correct=n < 40)
    for exchange_id in other:
        label(store, exchange_id, correct=True)
    whole = estimate_once(store, "home-v1", settings(), T0)
    newest = estimate_once(store, "home-v1", settings(window_exchanges=30), T0)
    behind = estimate_once(store, "home-v1", settings(), T0, after_rowid=40)
    assert whole is not None
    assert newest is not None
    assert behind is not None
    assert [round(e.value, 2) for e in (whole, newest, behind)] == [0.67, 0.33, 0.0]
    assert behind.n_truth == 20
    assert behind.high > 0.1


def test_judge_scores_narrow_the_estimate(store: Store) -> None:
    """Scores on labelled and unlabelled answers enter together, and the interval gets narrower."""
    ids = fill(store, 200)
    for n, exchange_id in enumerate(ids[:40]):
        label(store, exchange_id, correct=n % 2 == 0)
    alone = estimate_once(store, "home-v1", settings(), T0)
    scores = [0.9 if n % 2 == 0 else 0.1 for n in range(200)]
    store.add_grades(
        [Grade(exchange_id=i, source="judge", score=s, truth=False, at=T0) for i, s in zip(ids, scores, strict=True)]
    )
    judged = estimate_once(store, "home-v1", settings(), T0)
    assert alone is not None
    assert judged is not None
    assert judged.high - judged.low < 0.7 * (alone.high - alone.low)
    assert (judged.n_truth, judged.n_judged) == (40, 200)


def test_the_state_is_plain_json(store: Store) -> None:
    """What the judge loop keeps can be read by a person."""
    fill(store, 1)
    judge_once(store, FakeJudge(), settings(), T0)
    cursor, state = store.load_state(room.STATE_KEY)
    assert cursor == 1
    assert set(json.loads(state)) == {"budget", "totals"}
