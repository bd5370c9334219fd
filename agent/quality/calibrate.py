"""From mean log-probability to a score in [0, 1], fitted on labelled answers (pure).

Lives here: the logistic curve of the likelihood judge, its fit, and how well it tells right from wrong.
Comes in: mean log-probabilities and truths. Goes out: midpoint, slope, AUC.
Must never know: the judge, the engine, files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import NamedTuple

from agent.types import InvalidInput

_RIDGE = 0.05
"""Pull of the standardised slope towards 0, so that perfectly separated answers still give a finite curve."""
_STEPS = 30
_FLAT = 1e-6
"""Least slope (standardised): a judge that knows nothing still gets a curve, a flat one."""
_DONE = 1e-9


class Calibration(NamedTuple):
    """`midpoint` in nats a token, `slope` per nat, `auc` in [0, 1] (0.5 = the judge knows nothing)."""

    midpoint: float
    slope: float
    auc: float


def score(mean_logprob: float, midpoint: float, slope: float) -> float:
    """1 / (1 + exp(-slope * (mean_logprob - midpoint))), without overflow; `mean_logprob` in nats a token."""
    x = max(-60.0, min(60.0, slope * (mean_logprob - midpoint)))
    return 1.0 / (1.0 + math.exp(-x))


def calibrate(mean_logprobs: Sequence[float], truths: Sequence[bool]) -> Calibration:
    """Fit the curve by a few damped Newton steps of a ridge-penalised logistic regression.

    Raises InvalidInput unless both right and wrong answers are among them and their log-probabilities differ.
    """
    if len(mean_logprobs) != len(truths) or not any(truths) or all(truths):
        raise InvalidInput("calibration needs one truth a log-probability, and both right and wrong answers")
    middle, spread = fmean(mean_logprobs), pstdev(mean_logprobs)
    if spread == 0.0 or not math.isfinite(spread):
        raise InvalidInput("calibration needs finite log-probabilities that differ: is the judge loaded?")
    intercept, slope = _fit([(x - middle) / spread for x in mean_logprobs], truths)
    if abs(slope) < _FLAT:
        slope = _FLAT
    return Calibration(middle - spread * intercept / slope, slope / spread, auc(mean_logprobs, truths))


def auc(values: Sequence[float], truths: Sequence[bool]) -> float:
    """Chance that a right answer has a higher value than a wrong one, ties counting half (by mid-ranks)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    rights = sum(truths)
    rank_sum, start = 0.0, 0
    while start < len(order):
        stop = start
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        rank_sum += sum(truths[i] for i in order[start:stop]) * (start + stop + 1) / 2.0
        start = stop
    return (rank_sum - rights * (rights + 1) / 2.0) / (rights * (len(values) - rights))


def _fit(values: Sequence[float], truths: Sequence[bool]) -> tuple[float, float]:
    """(intercept, slope) of a logistic regression on one standardised value."""
    a, b = 0.0, 0.0
    for _ in range(_STEPS):
        gradient_a, gradient_b = 0.0, -_RIDGE * b
        h_aa, h_ab, h_bb = 1e-6, 0.0, _RIDGE
        for x, truth in zip(values, truths, strict=True):
            p = score(a + b * x, 0.0, 1.0)
            w = p * (1.0 - p)
            gradient_a += truth - p
            gradient_b += (truth - p) * x
            h_aa, h_ab, h_bb = h_aa + w, h_ab + w * x, h_bb + w * x * x
        determinant = h_aa * h_bb - h_ab * h_ab
        step_a = (h_bb * gradient_a - h_ab * gradient_b) / determinant
        step_b = (h_aa * gradient_b - h_ab * gradient_a) / determinant
        damp = min(1.0, 2.0 / max(abs(step_a), abs(step_b), 1e-12))
        a, b = a + damp * step_a, b + damp * step_b
        if max(abs(step_a), abs(step_b)) < _DONE:
            break
    return a, b
