"""The demo's three training recipes, as they were measured (see README.md beside this file).

In: nothing. Out: `CHAMPION` (version 1), `JUDGE`, `CHALLENGER` (the version a retraining order makes), and the
bound on an answer's length. Must never know: rows, models, files.
"""

from __future__ import annotations

from retrain.recipe import Recipe

RANK = 16
"""Rank 8 answers a fifth faster on a CPU (vLLM gathers an adapter's weights anew for every token), but version 1 was
then right on 0.85 instead of 0.94 of the sentences of unseen templates."""

ANSWER_TOKENS = 16
"""No right answer is longer, its end mark included; a longer one is cut and wrong anyway."""

CHAMPION = Recipe(r=RANK, alpha=2 * RANK, dropout=0.0, lr=1e-3, steps=120, batch=8, warmup_ratio=0.1, max_length=64)
"""Version 1: trained from nothing on the features of the first day."""

JUDGE = Recipe(
    r=RANK, alpha=2 * RANK, dropout=0.0, lr=1e-3, steps=150, batch=8, warmup_ratio=0.1, max_length=64, seed=1
)
"""The reference model of the likelihood judge: all features, rows which no version is trained on."""

CHALLENGER = Recipe(
    r=RANK,
    alpha=2 * RANK,
    dropout=0.0,
    lr=1e-3,
    steps=120,
    batch=8,
    warmup_ratio=0.1,
    max_length=64,
    seed=2,
    evaluations=0,
)
"""A later version, from version 1: labelled fresh traffic, about half of it new features, and 150 old rows replayed."""
