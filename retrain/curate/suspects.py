"""Labels that are probably wrong, and prompts unlike all others, by Cleanlab.

In: training rows, examined rows. Out: row numbers. Must never know: what is done about a suspect, where rows come from.

A label is an answer that comes at least `least` times; free texts are left alone. Confident learning (Northcutt,
Jiang and Chuang, JAIR 2021) holds each label against what a classifier says that never saw the row (five folds): here
logistic regression over hashed words and letter n-grams, reduced to a hundred dimensions. Outliers are far from their
ten nearest neighbours in the same space (Kuan and Mueller 2022), judged as Cleanlab's Datalab does.
An examined row's label is held against a model of all training rows that are not suspects themselves.
Five folds need some rows: below 200 with repeated labels, nothing is called suspect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from retrain.curate.rows import Row

LEAST_ROWS = 200
FOLDS = 5
DIMENSIONS = 100
NEIGHBOURS = 10
OUTLIER_SHARE = 0.37037
"""Datalab's threshold: an outlier's score is below this times the median score."""
MOST_LABELS = 300
WORKING_MB = 64


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """Numbers of rows, the worst first; `wrong` and `doubted` with the label that the classifier would give instead.

    `wrong` are of the `checked` training rows, `doubted` of the `examined` ones.
    """

    checked: int = 0
    labels: int = 0
    wrong: dict[int, str] = field(default_factory=dict)
    outliers: list[int] = field(default_factory=list)
    examined: int = 0
    doubted: dict[int, str] = field(default_factory=dict)


def suspects(
    rows: Sequence[Row], *, least: int, outliers: bool = True, examined: Sequence[Row] = (), seed: int = 0
) -> Suspects:
    """Rows whose label looks wrong, and outliers. Empty when there are too few rows or no repeated labels.

    `examined` rows are never learnt from; their labels are looked at in the same space.
    """
    counts = Counter(row.answer for row in rows)
    names = sorted(name for name, _ in counts.most_common(MOST_LABELS) if counts[name] >= max(least, 2))
    chosen = [number for number, row in enumerate(rows) if row.answer in set(names)]
    enough = len(rows) >= LEAST_ROWS
    labelled = len(names) > 1 and len(chosen) >= LEAST_ROWS
    if not enough or not (labelled or outliers):
        return Suspects()
    with modest():
        space = _space([row.text for row in (*rows, *examined)], seed)
        learnt, seen = space[: len(rows)], space[len(rows) :]
        far = _outliers(learnt) if outliers else []
        if not labelled:
            return Suspects(outliers=far)
        labels = _Labels(rows, names, chosen, learnt, seed)
        wrong = labels.wrong()
        doubts, known = labels.doubtful(examined, seen, wrong)
    return Suspects(
        checked=len(chosen), labels=len(names), wrong=wrong, outliers=far, doubted=doubts, examined=known
    )  # fmt: skip


@contextmanager
def modest() -> Iterator[None]:
    """Linear algebra on one thread (spinning threads cost CPU and save no time here), neighbours in small pieces."""
    from sklearn import config_context
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), config_context(working_memory=WORKING_MB):
        yield


def hashed(texts: Sequence[str]) -> Any:
    """Sparse (rows, 2^17) tf-idf of words, pairs of words and letter n-grams; no vocabulary is kept."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    words = HashingVectorizer(n_features=2**16, ngram_range=(1, 2), alternate_sign=False, norm=None)
    letters = HashingVectorizer(
        n_features=2**16, analyzer="char_wb", ngram_range=(3, 4), alternate_sign=False, norm=None
    )
    head = [text[:2000] for text in texts]
    return hstack([TfidfTransformer(sublinear_tf=True).fit_transform(v.transform(head)) for v in (words, letters)])


def _space(texts: Sequence[str], seed: int) -> Any:
    """Dense (rows, dimensions), each row of length 1."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    found = hashed(texts)
    size = min(DIMENSIONS, len(texts) - 1)
    return normalize(TruncatedSVD(size, n_iter=2, random_state=seed).fit_transform(found.tocsr()))


class _Labels:
    """The repeated labels of training rows, and how likely each is for each row, by models that never saw the row."""

    def __init__(self, rows: Sequence[Row], names: Sequence[str], chosen: Sequence[int], space: Any, seed: int) -> None:
        import numpy as np
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        self._names, self._chosen, self._space = names, chosen, space[chosen]
        self._index = {name: number for number, name in enumerate(names)}
        self._labels = np.array([self._index[rows[number].answer] for number in chosen])
        folds = StratifiedKFold(min(FOLDS, int(np.bincount(self._labels).min())), shuffle=True, random_state=seed)
        self._model = LogisticRegression(C=10.0, max_iter=200)
        self._chances = cross_val_predict(self._model, self._space, self._labels, cv=folds, method="predict_proba")

    def wrong(self) -> dict[int, str]:
        """Numbers of training rows whose label is an issue to Cleanlab, the worst first, with the label instead."""
        from cleanlab.filter import find_label_issues

        best = self._chances.argmax(axis=1)
        found = find_label_issues(
            self._labels, self._chances, return_indices_ranked_by="self_confidence", n_jobs=1
        )  # fmt: skip
        return {self._chosen[int(n)]: self._names[int(best[n])] for n in found if best[n] != self._labels[n]}

    def doubtful(self, rows: Sequence[Row], space: Any, wrong: Collection[int]) -> tuple[dict[int, str], int]:
        """The same of rows that nothing is learnt from, and how many of them have a known label.

        The model is that of all training rows but the wrong ones; a label is doubted when another is the likeliest and
        at least as likely as it is for a row that has it (Cleanlab's confident thresholds).
        """
        import numpy as np
        from cleanlab.count import get_confident_thresholds

        known = [number for number, row in enumerate(rows) if row.answer in self._index]
        sound = [at for at, number in enumerate(self._chosen) if number not in wrong]
        if not known or len(set(self._labels[sound])) < len(self._names):
            return {}, 0
        chances = self._model.fit(self._space[sound], self._labels[sound]).predict_proba(space[known])
        enough = get_confident_thresholds(self._labels, self._chances)
        labels = np.array([self._index[rows[number].answer] for number in known])
        best = chances.argmax(axis=1)
        every = np.arange(len(known))
        doubted = np.flatnonzero((best != labels) & (chances[every, best] >= enough[best]))
        ranked = doubted[np.argsort(chances[doubted, labels[doubted]])]
        return {known[int(n)]: self._names[int(best[n])] for n in ranked}, len(known)


def _outliers(space: Any) -> list[int]:
    import numpy as np
    from cleanlab.outlier import OutOfDistribution

    model = OutOfDistribution({"k": min(NEIGHBOURS, len(space) - 1)})
    scores = model.fit_score(features=space, verbose=False)
    low = np.flatnonzero(scores < OUTLIER_SHARE * float(np.median(scores)))
    return [int(number) for number in low[np.argsort(scores[low])]]
