"""Accuracy, precision, recall and F1 over kinds of answers, as one metric of Hugging Face `evaluate`.

In: predicted and true labels, text by text. Out: four figures in [0, 1]. Must never know: how a label was found.
Heavy (imports datasets): import it where it is used. Nothing is loaded from the hub.
"""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate
from sklearn import metrics


class Labels(evaluate.Metric):
    """Macro averages over the labels that occur in the references: a rare kind weighs as much as a common one."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Accuracy and macro precision, recall and F1 of labels.",
            citation="Pedregosa et al. 2011, scikit-learn",
            inputs_description="predictions and references: lists of labels",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        kinds = sorted(set(references))
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            references, predictions, labels=kinds, average="macro", zero_division=0.0
        )
        return {
            "accuracy": float(metrics.accuracy_score(references, predictions)),
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
        }
