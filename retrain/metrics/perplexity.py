"""Perplexity from log-probabilities that a server told, as one measurement of Hugging Face `evaluate`.

In: the mean log-probability a token (nats) of each text. Out: one figure, 1 or more.
Must never know: the model, the texts. Heavy (imports datasets): import it where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import datasets
import evaluate


class Perplexity(evaluate.Measurement):
    """exp of minus the mean over texts of the mean over tokens: the geometric mean of each text's perplexity."""

    def _info(self) -> evaluate.MeasurementInfo:
        return evaluate.MeasurementInfo(
            description="Perplexity of texts, from their mean log-probabilities.",
            citation="Jelinek et al. 1977",
            inputs_description="data: a list of mean log-probabilities in nats a token",
            features=datasets.Features({"data": datasets.Value("float64")}),
        )

    def _compute(self, data: Sequence[float]) -> dict[str, float | None]:
        known = [float(value) for value in data if math.isfinite(value)]
        if not known:
            return {"perplexity": None}
        return {"perplexity": math.exp(min(700.0, -sum(known) / len(known)))}
