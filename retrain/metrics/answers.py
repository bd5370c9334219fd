"""How near answers are to their labels, as one metric of Hugging Face `evaluate`.

In: predictions and references, text by text. Out: exact match, ROUGE-1/2/L, BLEU, METEOR, each in [0, 1].
Must never know: who answered. Heavy (imports datasets): import it where it is used. It loads nothing from the hub,
and `evaluate.load("retrain/metrics/answers.py")` finds the same class.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import datasets
import evaluate
import sacrebleu
from nltk.translate import meteor_score
from rouge_score import rouge_scorer

ROUGE = ("rouge1", "rouge2", "rougeL")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Thai, Lao, Burmese, Khmer, kana, Han."""
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}_])[\w\u0300-\u036f\u0900-\u0dff])+")
"""Indic vowel signs and combining accents are no letters to Python, but parts of words."""


class Words:
    """ROUGE's own words (runs of ASCII letters and digits, lower case) where a text is ASCII, and all letters else.

    rouge_score's tokenizer drops what is not ASCII: two equal Russian texts would have nothing in common. Scripts
    without spaces count letter by letter, as is usual for ROUGE of Chinese and Japanese.
    """

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return _WORD.findall(text.lower())


class _NoWordNet:
    """METEOR without synonyms: exact words and stems. WordNet is a download, and English alone."""

    def synsets(self, _word: str) -> list[str]:
        """No word has synonyms."""
        return []


class Answers(evaluate.Metric):
    """Exact match; ROUGE F-measures (Lin 2004); corpus BLEU (Post 2018); METEOR (Banerjee and Lavie 2005)."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Exact match, ROUGE, BLEU and METEOR of answers.",
            citation="Lin 2004 (ROUGE); Post 2018 (sacreBLEU); Banerjee and Lavie 2005 (METEOR)",
            inputs_description="predictions and references: lists of texts",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        predictions, references = (
            [unicodedata.normalize("NFC", text) for text in of] for of in (predictions, references)
        )
        n = len(predictions)
        pairs = list(zip(predictions, references, strict=True))
        scorer = rouge_scorer.RougeScorer(list(ROUGE), tokenizer=Words())
        scored = [scorer.score(label, said) for said, label in pairs]
        bleu = sacrebleu.BLEU(effective_order=True)  # answers of fewer than four words have no 4-grams to miss
        near = [meteor_score.meteor_score([label.split()], said.split(), wordnet=_NoWordNet()) for said, label in pairs]
        return {
            "exact_match": sum(said == label for said, label in pairs) / n,
            **{name: sum(float(one[name].fmeasure) for one in scored) / n for name in ROUGE},
            "bleu": min(1.0, float(bleu.corpus_score(list(predictions), [list(references)]).score) / 100),
            "meteor": float(sum(near)) / n,
        }
