"""Is what is learnt like what is asked? Training rows against live traffic, by length, language, label and topic.

In: (prompt, answer) pairs of both. Out: plain numbers for the report. Must never know: HTML, files, the store.

Topic distance is a classifier two-sample test (Lopez-Paz and Oquab, ICLR 2017): the area under the ROC curve of a model
that tells the two apart by their words, on rows it never saw. 0.5: nobody can; 1: they have nothing in common. Replay
rows are learnt on purpose, so that a retraining set lies between old and new traffic and 0.5 is not the aim.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agent.profile.language import language

Pair = tuple[str, str]
LEAST_ROWS = 30
MOST_ROWS = 1000
TOP = 10
BINS = 16
FOLDS = 3
_WORD = re.compile(r"\w+")


def compare(train: Sequence[Pair], live: Sequence[Pair]) -> dict[str, Any]:
    """Distances and tables; empty when either side has fewer than 30 rows."""
    if min(len(train), len(live)) < LEAST_ROWS:
        return {}
    ours, theirs = _thinned(train), _thinned(live)
    prompts = [[prompt for prompt, _ in side] for side in (ours, theirs)]
    return {
        "rows": {"train": len(train), "live": len(live)},
        "length": _lengths([len(p) for p in prompts[0]], [len(p) for p in prompts[1]]),
        "language": _shares([[language(p, p.lower().split()) for p in side] for side in prompts]),
        "label": _shares([[answer for _, answer in side] for side in (ours, theirs)]),
        "topic_auc": _topic(*prompts),
        "words": _words(*prompts),
    }


def _thinned(rows: Sequence[Pair]) -> list[Pair]:
    """At most so many rows, evenly over the sequence."""
    step = max(1, math.ceil(len(rows) / MOST_ROWS))
    return list(rows[::step])


def _lengths(ours: Sequence[int], theirs: Sequence[int]) -> dict[str, Any]:
    """Histograms over common bins of equal ratio, and the Kolmogorov-Smirnov distance, in characters."""
    low, high = max(1, min(*ours, *theirs)), max(2, *ours, *theirs)
    edges = [low * (high / low) ** (n / BINS) for n in range(BINS + 1)]

    def histogram(values: Sequence[int]) -> list[float]:
        counts = [0] * BINS
        for value in values:
            place = math.log(max(value, low) / low) / math.log(high / low) if high > low else 0
            counts[min(BINS - 1, int(place * BINS))] += 1
        return [round(count / len(values), 4) for count in counts]

    values = sorted({*ours, *theirs})
    shares = [[sum(v <= at for v in side) / len(side) for at in values] for side in (ours, theirs)]
    distance = max(abs(one - two) for one, two in zip(*shares, strict=True))
    return {
        "edges": [round(edge, 1) for edge in edges],
        "train": histogram(ours),
        "live": histogram(theirs),
        "ks": round(distance, 4),
    }


def _shares(sides: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Shares of the commonest values on each side, and the total variation distance over all values."""
    ours, theirs = (Counter(side) for side in sides)
    size = [max(1, len(side)) for side in sides]
    both = Counter({value: ours[value] / size[0] + theirs[value] / size[1] for value in ours | theirs})
    distance = sum(abs(ours[v] / size[0] - theirs[v] / size[1]) for v in both) / 2
    top = [value for value, _ in both.most_common(TOP)]
    return {
        "top": [[value, round(ours[value] / size[0], 4), round(theirs[value] / size[1], 4)] for value in top],
        "kinds": {"train": len(ours), "live": len(theirs)},
        "distance": round(distance, 4),
    }


def _topic(ours: Sequence[str], theirs: Sequence[str]) -> float:
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    from retrain.curate.suspects import hashed, modest

    texts = [*ours, *theirs]
    side = np.array([0] * len(ours) + [1] * len(theirs))
    groups = np.unique([text.casefold() for text in texts], return_inverse=True)[1]  # a repeated text is in one fold
    if groups.max() + 1 < FOLDS:
        return 0.5
    model = LogisticRegression(class_weight="balanced", max_iter=200)
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0)
    with modest():
        words = hashed(texts).tocsr()
        chances = cross_val_predict(model, words, side, groups=groups, cv=folds, method="predict_proba")
    return round(float(roc_auc_score(side, chances[:, 1])), 4)


def _words(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, list[str]]:
    """Words that one side uses far more than the other: by the difference in the share of texts that hold them."""
    counts = [Counter(word for text in side for word in set(_WORD.findall(text.casefold()))) for side in (ours, theirs)]
    sizes = len(ours), len(theirs)
    gap = {w: counts[1][w] / sizes[1] - counts[0][w] / sizes[0] for w in counts[0] | counts[1]}
    ranked = sorted(gap, key=lambda word: (gap[word], word))
    return {
        "train": [word for word in ranked[:TOP] if gap[word] < 0],
        "live": [word for word in ranked[: -TOP - 1 : -1] if gap[word] > 0],
    }
