"""Mean quality from few truth labels and many judge scores, with an interval honest at small n (pure).

Lives here: prediction-powered inference with power tuning (PPI++: Angelopoulos, Duchi, Zrnic, "PPI++:
Efficient prediction-powered inference", arXiv 2311.01453, 2023), carried on Wilson's score interval (Wilson,
JASA 22, 1927).
Comes in: labels with the judge's score of the same answer where there is one; scores of unlabelled answers.
Goes out: an interval in [0, 1].
Must never know: who labelled or judged, the store, the clock.

PPI++ states a normal interval, which has zero width when all labels agree and covers too little at small n.
So the judge is here only allowed to *enlarge the sample*: its correlation with the labels, taken at a
cautious lower bound, says how many labels the scores are worth, and Wilson's interval is drawn for that many.
A useless judge is worth nothing, and the interval is then Wilson's over the labels alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

_MIN_CLASS = 4
"""Right and wrong answers that must both be among the labels before the judge is listened to: the number of
the rarer ones, not of all labels, is what is known about how judge and labels go together."""
_RIGHT = 0.5
"""A label from here on counts as right where right and wrong ones are counted."""
_CONSTANT = 1e-9
"""A variance below this is none: the judge says the same of everything."""
_CAUTION = 1.5
"""Standard errors by which the judge's correlation is marked down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Point and bounds in [0, 1]; `n_worth`: how many labels all labels and scores together are worth."""

    value: float
    low: float
    high: float
    n_truth: int
    n_judged: int
    n_worth: float
    method: str


def estimate(labels: Sequence[tuple[float, float | None]], judged: Sequence[float], level: float) -> Interval:
    """Interval of mean correctness at coverage `level`.

    Args:
        labels: at least one (truth in [0, 1], judge score of the same answer, None when not judged).
        judged: judge scores of answers without a label.
        level: coverage, e.g. 0.95.

    The labelled answers must be a random sample of the same traffic as the judged ones: labels given only
    where somebody complained make every estimate here too low.
    """
    truths = [truth for truth, _ in labels]
    pairs = [(truth, score) for truth, score in labels if score is not None]
    plain, n = fmean(truths), len(truths)
    weight, worth = _judge_worth(pairs, judged, n)
    shift = weight * (fmean(judged) - fmean(score for _, score in pairs)) if weight > 0.0 else 0.0
    value = min(1.0, max(0.0, plain + shift))
    low, high = wilson(value, worth, level)
    return Interval(
        value=value,
        low=low,
        high=high,
        n_truth=n,
        n_judged=len(pairs) + len(judged),
        n_worth=worth,
        method="ppi++ on wilson" if weight > 0.0 else "wilson",
    )


def wilson(share: float, n: float, level: float) -> tuple[float, float]:
    """Wilson's score interval of a share seen in n > 0 answers (n need not be whole). Never of zero width."""
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z / (1.0 + z * z / n) * math.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def _judge_worth(pairs: Sequence[tuple[float, float]], judged: Sequence[float], n: int) -> tuple[float, float]:
    """(power-tuning weight of the judge, labels that everything together is worth).

    With m pairs among n labels and N scores besides,
    value = mean(n truths) + weight * (mean(N scores) - mean(m scores)).
    Its variance is least at weight = slope * gain, slope = cov(truth, score) / var(score),
    gain = (1/n) / (1/m + 1/N), and is then var(truth)/n * (1 - correlation^2 * gain).
    """
    rights = sum(truth >= _RIGHT for truth, _ in pairs)
    rarer = min(rights, len(pairs) - rights)
    if not judged or rarer < _MIN_CLASS:
        return 0.0, float(n)
    truth_mean, score_mean = fmean(t for t, _ in pairs), fmean(s for _, s in pairs)
    truth_var = fmean((t - truth_mean) ** 2 for t, _ in pairs)
    score_var = fmean((s - score_mean) ** 2 for _, s in pairs)
    if min(truth_var, score_var) < _CONSTANT:
        return 0.0, float(n)
    covariance = fmean((t - truth_mean) * (s - score_mean) for t, s in pairs)
    seen = covariance / math.sqrt(truth_var * score_var)
    sure = _cautious(seen, 2 * rarer)
    if sure <= 0.0:
        return 0.0, float(n)
    gain = (1.0 / n) / (1.0 / len(pairs) + 1.0 / len(judged))
    weight = covariance / score_var * (sure / seen) * gain
    return weight, n / (1.0 - sure * sure * gain)


def _cautious(correlation: float, n: int) -> float:
    """Correlation `_CAUTION` standard errors below what was seen, on Fisher's z scale (n > 3)."""
    z = math.atanh(min(0.999, max(-0.999, correlation)))
    return math.tanh(z - _CAUTION / math.sqrt(n - 3))
