"""The learned score: it finds topics that no number shows, and is fair until then."""

from __future__ import annotations

import math

import numpy as np

from agent.drift.learner import MOST_WORDS, POOL_ROWS, Learner, fold_of, words_of
from agent.drift.texts import take_apart


def _document(random: np.random.Generator, *, new: bool = False) -> str:
    """Twenty words: half from a common stock of 400, half from one of eight topics of 60, or from a ninth."""
    topic = 8 if new else int(random.integers(8))
    common = [f"c{int(400 * u * u)}" for u in random.random(10)]
    return " ".join([*common, *(f"t{topic}x{int(60 * u * u)}" for u in random.random(10))])


def _p_values(seed: int, rows: int, share: float) -> list[float]:
    random = np.random.default_rng(seed)

    def words(*, new: bool = False) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
        return words_of(take_apart("what is it?"), take_apart(_document(random, new=new)))

    learner = Learner.build([words() for _ in range(150)], [(words(), 0, f"r{i}", i % 2) for i in range(150)])
    out = []
    for row in range(rows):
        one, fold = words(new=random.random() < share), fold_of(row // 5, seed)
        out.append(learner.p_value(one, -1, fold, random.random())[0])
        learner.learn(one, 0, fold, random.random())
    return out


def test_learned_p_values_are_uniform_without_change() -> None:
    """Over 30 null streams mean, small values and neighbours' products are those of independent uniform values."""
    z = []
    for seed in range(30):
        p = np.array([x for x in _p_values(seed, 300, 0.0) if not math.isnan(x)])
        root = math.sqrt(p.size)
        mean, low = (p.mean() - 0.5) * math.sqrt(12) * root, (np.mean(p <= 0.05) - 0.05) / math.sqrt(0.0475) * root
        z.append((mean, low, float(np.mean((p[1:] - 0.5) * (p[:-1] - 0.5))) * 12 * root))
    found = np.array(z)
    assert np.abs(found.mean(axis=0)).max() * math.sqrt(30) < 4
    assert (np.square(found).mean(axis=0) < 1 + 4 * math.sqrt(2 / 30)).all()


def test_a_topic_that_comes_is_learned() -> None:
    """When a third of the texts is about something new, small p-values come far too often."""
    p = np.array(_p_values(1, 500, 0.3)[60:260])
    assert np.mean(p <= 0.05) > 0.1


def test_words_of_a_long_text_are_few_and_the_same_ones() -> None:
    """A record is at most `MOST_WORDS` places, chosen by the words alone."""
    text = take_apart(" ".join(f"w{i}" for i in range(1_000)))
    one = words_of(text, text)
    assert one.size == MOST_WORDS
    assert (one == words_of(text, text)).all()
    assert words_of(take_apart(""), take_apart("")).size == 0


def test_the_pool_does_not_grow_for_ever() -> None:
    """A fold ranks among at most `POOL_ROWS` records, a random sample of all."""
    learner = Learner.build([words_of(take_apart("a b"), take_apart("c"))] * 30, [])
    for row in range(2 * POOL_ROWS + 300):
        learner.learn(words_of(take_apart(f"a{row}"), take_apart("c")), 0, row % 2, (row * 0.618) % 1)
    assert [len(fold.pool) for fold in learner.folds] == [POOL_ROWS, POOL_ROWS]


def test_what_vanished_is_named() -> None:
    """Reference records of a topic that no longer comes are the vanished ones."""
    random = np.random.default_rng(4)

    def words(topic: str) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
        return words_of(take_apart(topic), take_apart(" ".join(f"{topic}{random.integers(30)}" for _ in range(8))))

    topics = ["a", "b", "c", "gone"]
    pool = [(words(topics[i % 4]), 0, f"{topics[i % 4]}-{i}", i // 4 % 2) for i in range(120)]
    learner = Learner.build([words(topics[i % 4]) for i in range(120)], pool)
    for row in range(150):
        learner.learn(words(topics[row % 3]), 0, row // 5 % 2, 0.5)
    assert [name.partition("-")[0] for name in learner.vanished(5)] == ["gone"] * 5
