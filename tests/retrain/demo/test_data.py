"""The demo's data: deterministic, free of leaks, and answered exactly by an independent recogniser."""

from __future__ import annotations

from collections import Counter

import pytest

from retrain.demo.data import Row, Task, build, messages, traffic, truth
from retrain.demo.grammar import canonical, render
from serving.errors import InvalidInput

SMALL = {"v1": 150, "judge": 150, "heldout": 60}


@pytest.fixture(scope="module")
def task() -> Task:
    """A small build, shared because it is never changed."""
    return build(7, **SMALL)


def _lists(task: Task) -> dict[str, list[Row]]:
    return {name: getattr(task, name) for name in ("train_v1", "judge_train", "heldout_old", "heldout_new")}


def test_same_seed_same_rows(task: Task) -> None:
    """A build depends on its seed alone, and another seed gives other rows."""
    build.cache_clear()
    assert build(7, **SMALL) == task
    assert build(8, **SMALL).train_v1 != task.train_v1


def test_same_seed_same_traffic() -> None:
    """Traffic depends on its kind and seed alone."""
    assert traffic("drifted", 1, 40) == traffic("drifted", 1, 40)
    assert traffic("drifted", 1, 40) != traffic("drifted", 2, 40)
    assert traffic("drifted", 1, 80)[:40] == traffic("drifted", 1, 40)


def test_no_utterance_in_two_lists(task: Task) -> None:
    """Training, judge and held-out rows are different utterances, each said once."""
    spoken = Counter(row.utterance.lower() for rows in _lists(task).values() for row in rows)
    assert max(spoken.values()) == 1


def test_held_out_phrases_are_never_learnt(task: Task) -> None:
    """No held-out row has the near-duplicate key of a training row or of a request in traffic."""
    learnt = {row.phrase for row in (*task.train_v1, *task.judge_train)}
    assert not learnt & {row.phrase for row in (*task.heldout_old, *task.heldout_new)}


def test_traffic_never_repeats_a_known_row() -> None:
    """Traffic holds no utterance of the task's rows, so that no version is asked what it was trained on."""
    known = build(0).utterances()
    assert not [r for r in traffic("drifted", 3, 150) if r.utterance.lower() in known]


def test_truth_agrees_with_every_row(task: Task) -> None:
    """The recogniser, which shares no code with the generator, gives each row's answer: none is ambiguous."""
    for rows in _lists(task).values():
        assert [truth(row.utterance) for row in rows] == [row.answer for row in rows]


def test_truth_of_foreign_text_is_unknown() -> None:
    """What no template says has no answer."""
    assert truth("what is the meaning of life") is None


def test_values_are_copied_letter_by_letter(task: Task) -> None:
    """Every number and every room in an answer stands in its utterance."""
    for rows in _lists(task).values():
        for row in rows:
            words = set(row.utterance.lower().replace("%", " ").replace("'s", " ").split())
            assert not [w for w in row.answer.split() if w.isdigit() and w not in words], row
            if " in " in row.answer:
                assert row.answer.split(" in ")[1].split()[0] in words, row


def test_answers_are_short(task: Task) -> None:
    """Answers are few plain words, since each costs the demo a decoding step."""
    longest = max((row.answer for rows in _lists(task).values() for row in rows), key=lambda a: len(a.split()))
    assert len(longest.split()) <= 8, longest


def test_old_and_new_are_kept_apart(task: Task) -> None:
    """Version 1 learns no new feature, the judge learns both, reference traffic asks only for old ones."""
    assert not any(row.is_new for row in (*task.train_v1, *task.heldout_old))
    assert all(row.is_new for row in task.heldout_new)
    assert {row.is_new for row in task.judge_train} == {True, False}
    assert not any(r.is_new for r in traffic("reference", 1, 100))


def test_drifted_traffic_is_half_new() -> None:
    """About half of drifted traffic asks for new features, from every skill of the house."""
    requests = traffic("drifted", 1, 400)
    assert 0.4 < sum(r.is_new for r in requests) / len(requests) < 0.6
    assert len({r.intent for r in requests if r.is_new}) > 10


def test_users_are_unequal() -> None:
    """A few users ask much and many ask little, as Zipf's law has it."""
    counts = Counter(r.user for r in traffic("reference", 5, 400)).most_common()
    assert len(counts) > 60
    assert counts[0][1] > 5 * counts[len(counts) // 2][1]


def test_unknown_kind_is_refused() -> None:
    """A kind of traffic that does not exist is the caller's fault, said in one sentence."""
    with pytest.raises(InvalidInput, match="reference"):
        traffic("sideways", 1, 1)  # type: ignore[arg-type]


def test_messages_name_the_system_briefly() -> None:
    """A request has one short system message; without one the template would add its own."""
    assert [m["role"] for m in messages("light on")] == ["system", "user"]
    assert len(messages("light on")[0]["content"].split()) == 1


@pytest.mark.parametrize(
    ("slots", "answer"),
    [({"area": "gym"}, "light on in gym"), ({"here": "here"}, "light on here"), ({}, "light on")],
)
def test_render_leaves_out_what_was_not_said(slots: dict[str, str], answer: str) -> None:
    """A bracketed part of an answer pattern falls away when its slot was not spoken."""
    assert render("light on [in {area}] [{here}]", slots) == answer


def test_canonical_merges_near_duplicates() -> None:
    """Articles, politeness and plural endings make no difference."""
    assert canonical("turn on the lights in my {area}") == canonical("turn on light in {area} please")
