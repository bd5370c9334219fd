"""Exact match and ROUGE-L of answers, as one metric of Hugging Face `evaluate`.

In: predictions and references, text by text. Out: {"exact_match", "rougeL"} in [0, 1].
Must never know: who answered. Heavy (imports datasets): import it where it is used. It loads nothing from the hub,
and `evaluate.load("retrain/metrics/answers.py")` finds the same class.
"""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate
from rouge_score import rouge_scorer


class Answers(evaluate.Metric):
    """Share of answers that are the label exactly, and mean ROUGE-L F-measure (Lin 2004) for how near the rest is."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Exact match and ROUGE-L of short answers.",
            citation="Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004",
            inputs_description="predictions and references: lists of texts",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        n = len(predictions)
        pairs = list(zip(predictions, references, strict=True))
        scorer = rouge_scorer.RougeScorer(["rougeL"])
        near = sum(scorer.score(label, said)["rougeL"].fmeasure for said, label in pairs)
        return {"exact_match": sum(said == label for said, label in pairs) / n, "rougeL": float(near) / n}
