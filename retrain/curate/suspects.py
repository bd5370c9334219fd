"""Labels that are probably wrong, and prompts unlike all others, by Cleanlab.

In: training rows. Out: row numbers. Must never know: what is done about a suspect, where rows come from.

A label is an answer that comes at least `least` times; free texts are left alone. Confident learning (Northcutt,
Jiang and Chuang, JAIR 2021) holds each label against what a classifier says that never saw the row (five folds): here
logistic regression over hashed words and letter n-grams, reduced to a hundred dimensions. Outliers are far from their
ten nearest neighbours in the same space (Kuan and Mueller 2022), judged as Cleanlab's Datalab does.
Five folds need some rows: below 200 with repeated labels, nothing is called suspect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
    """Numbers of rows, the worst first; `says` is the label that the classifier would give instead."""

    checked: int = 0
    labels: int = 0
    wrong: list[int] = field(default_factory=list)
    says: dict[int, str] = field(default_factory=dict)
    outliers: list[int] = field(default_factory=list)


def suspects(rows: Sequence[Row], *, least: int, outliers: bool = True, seed: int = 0) -> Suspects:
    """Rows whose label looks wrong, and outliers. Empty when there are too few rows or no repeated labels."""
    counts = Counter(row.answer for row in rows)
    names = sorted(name for name, _ in counts.most_common(MOST_LABELS) if counts[name] >= max(least, 2))
    chosen = [number for number, row in enumerate(rows) if row.answer in set(names)]
    enough = len(rows) >= LEAST_ROWS
    labelled = len(names) > 1 and len(chosen) >= LEAST_ROWS
    if not enough or not (labelled or outliers):
        return Suspects()
    with modest():
        space = _space([row.text for row in rows], seed)
        wrong, says = _wrong(rows, names, chosen, space, seed) if labelled else ([], {})
        far = _outliers(space) if outliers else []
    checked, labels = (len(chosen), len(names)) if labelled else (0, 0)
    return Suspects(checked=checked, labels=labels, wrong=wrong, says=says, outliers=far)


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


def _wrong(
    rows: Sequence[Row], names: Sequence[str], chosen: Sequence[int], space: Any, seed: int
) -> tuple[list[int], dict[int, str]]:
    import numpy as np
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    index = {name: number for number, name in enumerate(names)}
    labels = np.array([index[rows[number].answer] for number in chosen])
    folds = StratifiedKFold(min(FOLDS, int(np.bincount(labels).min())), shuffle=True, random_state=seed)
    model = LogisticRegression(C=10.0, max_iter=200)
    chances = cross_val_predict(model, space[chosen], labels, cv=folds, method="predict_proba")
    found = find_label_issues(labels, chances, return_indices_ranked_by="self_confidence", n_jobs=1)
    best = chances.argmax(axis=1)
    wrong = [int(number) for number in found if best[number] != labels[number]]
    return [chosen[n] for n in wrong], {chosen[n]: names[int(best[n])] for n in wrong}


def _outliers(space: Any) -> list[int]:
    import numpy as np
    from cleanlab.outlier import OutOfDistribution

    model = OutOfDistribution({"k": min(NEIGHBOURS, len(space) - 1)})
    scores = model.fit_score(features=space, verbose=False)
    low = np.flatnonzero(scores < OUTLIER_SHARE * float(np.median(scores)))
    return [int(number) for number in low[np.argsort(scores[low])]]
