"""Neighbours that are alike are seen by their words, before an alarm as well."""

from __future__ import annotations

import dataclasses
import random

import numpy as np

from agent.drift.detector import Detector
from agent.drift.learner import words_of_many
from agent.drift.neighbours import Course, alike
from agent.drift.records import Record
from agent.drift.scores import pairs_of
from tests.agent.drift.streams import stream


def test_conversations_side_by_side_are_seen_by_their_words() -> None:
    """Words of twenty topics that take turns come again too soon; in any order, or apart by the hour, they do not."""
    random_, hour = np.random.default_rng(4), np.repeat([0, 1], 200)
    topic = np.arange(400) % 20 + np.arange(400) // 100 * 20
    told = [np.unique(random_.integers(0, 8, 3) + 8 * t).astype(np.uint16) for t in topic]
    assert alike(told, np.zeros(400, np.intp), random_)
    assert not alike([told[i] for i in random_.permutation(400)], np.zeros(400, np.intp), random_)
    halves = [np.array([random_.integers(0, 60) + 60 * h], np.uint16) for h in hour]
    assert alike(halves, np.zeros(400, np.intp), random_)
    assert not alike(halves, hour, random_)


def test_a_change_is_no_likeness_of_neighbours() -> None:
    """Words that change at a row part what came before from what came since; within each, any order is as good."""
    random_ = np.random.default_rng(1)
    words = [random_.integers(0, 60, 4).astype(np.uint16) + np.uint16(60 * (n >= 700)) for n in range(1_000)]
    course = Course(words[:300])
    for one in words[300:]:
        course.add(one)
    assert not course.alike(700, 400, random_)
    assert course.alike(700, 0, random_)
    course.changes.append(400)
    assert not course.alike(700, 0, random_)
    again = Course.from_arrays(course.arrays())
    assert [one.tolist() for one in [*again.reference, *again.live]] == [
        one.tolist() for one in [*course.reference, *course.live]
    ]
    assert again.changes == course.changes


def _side_by_side(rows: int, seed: int) -> list[Record]:
    """Eight people at a time, each with six favourite words for about forty records; nobody is named."""
    r, people = random.Random(seed), list[tuple[list[str], int]]()
    known = ["".join(r.choices("abcdefgh", k=6)) for _ in range(80)]
    records = stream(seed, rows)
    for i, record in enumerate(records):
        while len(people) < 8:
            people.append((r.sample(known, 6), i + 8 * r.randint(20, 60)))
        own, _ = r.choice(people)
        records[i] = dataclasses.replace(record, prompt=f"{record.prompt} {' '.join(r.choices(own, k=5))}")
        people = [one for one in people if one[1] > i]
    return records


def test_few_rows_are_asked_less() -> None:
    """300 rows show some threads barely: of these 8 references, 2 would not be seen at three standard deviations."""
    seen = []
    for seed in (0, 2, 3, 4, 5, 6, 7, 9):
        words = words_of_many(pairs_of(_side_by_side(300, seed)))
        seen.append(alike(words, np.zeros(300, np.intp), np.random.default_rng(seed)))
    assert all(seen)


def test_people_side_by_side_raise_no_row_of_alarms() -> None:
    """New people come all the time. A long reference shows it; with a short one the first alarm is looked at twice."""
    for rows, at_fit in ((1_000, True), (300, False)):
        records = _side_by_side(rows + 1_200, 3)
        detector = Detector.fit(records[:rows], alias="home", version="v", budget_rows=20_000)
        assert not at_fit or detector.core.kin.in_the_dark
        alarms = [alarm for alarm in detector.update_many(records[rows:]) if alarm is not None]
        assert len(alarms) <= (0 if at_fit else 1)
