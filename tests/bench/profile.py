"""What features, profiles and distances cost.

In: the scale. Out: features us a message, profile rows/s at batch 256 for 18 columns, profile bytes for 10,000 rows,
distances ms for 15 columns; each against the plainest way to do the like in the same run. Must never know: drift.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agent.drift.distances import distances
from agent.intake.assemble import assemble
from agent.profile import FEATURES, Feature, Kind, Profiler, features
from agent.profile.profiler import EPOCH
from agent.store.whylogs_light import load_whylogs
from agent.types import Exchange, Features
from tests.bench import texts
from tests.bench.figures import Figure, best_cpu_s, say
from tests.bench.scale import Scale

BATCH, ROWS = 256, 10_000
MIX = {Kind.LABEL: 3, Kind.FLAG: 2, Kind.COUNT: 5, Kind.NUMBER: 8}
COLUMNS = sum(MIX.values())
DISTANCE_COLUMNS = COLUMNS - MIX[Kind.LABEL]
ROWS_PER_S, PROFILE_BYTES, FEATURES_US, LANGUAGE_US = 300_000, 110_000, 60.0, 120.0
WHYLOGS_ROWS = 300


def measure(scale: Scale) -> list[Figure]:
    """The figures of features, profiles and distances, in this order."""
    n, rounds = scale.of(400, 40), scale.of(9, 2)
    exchanges = _exchanges(n)
    figures = [*_features("", "prose", _exchanges(n, plain=True), rounds)]
    figures += _features("technical_", "technical text", exchanges, rounds)
    say("    features: " + ", ".join(figure.measured for figure in figures))
    rows = _rows([features(exchange) for exchange in exchanges], ROWS)
    return [*figures, *_profile(rows, rounds), *_distances(rows, rounds)]


def _exchanges(n: int, *, plain: bool = False) -> list[Exchange]:
    """Exchanges whose prompt and answer have 700 characters each."""
    talks = texts.talks(n, seed=11, prompt_chars=texts.ANSWER_CHARS, plain=plain)
    return [assemble(texts.capture(i + 1, texts.request(t), texts.streamed(t, i))) for i, t in enumerate(talks)]


def _features(name: str, text: str, exchanges: Sequence[Exchange], rounds: int) -> list[Figure]:
    """Both messages of an exchange are measured, so that one message is half of it."""
    messages = [text for exchange in exchanges for text in (exchange.prompt, exchange.answer)]
    raw = [text.encode() for text in messages]
    best = best_cpu_s(
        {
            "zlib": lambda: [zlib.compress(text, 1) for text in raw],
            "plain": lambda: [features(exchange, language=False) for exchange in exchanges],
            "language": lambda: [features(exchange) for exchange in exchanges],
        },
        rounds,
    )
    us = {key: seconds / len(messages) * 1e6 for key, seconds in best.items()}
    says = f"features of a message of {texts.ANSWER_CHARS} characters, {text}"
    return [
        Figure(
            name=f"{name}features_us", says=f"{says}, no language", value=us["plain"], unit="us", bound=FEATURES_US,
            baseline=us["zlib"], against="zlib level 1 of the same text",
        ),
        Figure(
            name=f"{name}language_us", says=f"its language on top, {text}", value=us["language"] - us["plain"],
            unit="us", bound=LANGUAGE_US, baseline=us["zlib"], against="zlib level 1 of the same text",
        ),
    ]  # fmt: skip


def _rows(seen: Sequence[Features], n: int) -> list[Features]:
    """`n` rows like those seen, with numbers that differ: the sketches must not have it too easy."""
    r = random.Random(13)
    whole = {feature.name for feature in FEATURES if feature.kind is not Kind.NUMBER}

    def near(name: str, value: float) -> float:
        if name not in whole:
            return value * r.uniform(0.5, 1.5)
        return float(round(value * r.uniform(0.5, 1.5))) if value > 1 else value

    return [
        replace(seen[i % len(seen)], numbers={k: near(k, v) for k, v in seen[i % len(seen)].numbers.items()})
        for i in range(n)
    ]


def _chosen() -> list[Feature]:
    """Columns as they come in practice: some labels and flags, most of them numbers."""
    return [f for kind, n in MIX.items() for f in [g for g in FEATURES if g.kind is kind][:n]]


def _tracked(rows: Sequence[Features], of: Sequence[Feature]) -> Profiler:
    profiler = Profiler(features=of)
    for at in range(0, len(rows), BATCH):
        profiler.track(rows[at : at + BATCH])
    return profiler


def _profile(rows: list[Features], rounds: int) -> list[Figure]:
    some = _chosen()
    kept = [feature.name for feature in some]
    mixed = [{**row.numbers, **row.labels} for row in rows[:WHYLOGS_ROWS]]
    plain = [{name: row[name] for name in kept if name in row} for row in mixed]
    default = _whylogs_own()
    best = best_cpu_s(
        {
            "narrow": lambda: _tracked(rows, some),
            "all": lambda: _tracked(rows, FEATURES),
            "whylogs": lambda: default(plain),
        },
        rounds,
    )
    profiler = _tracked(rows, some)
    size, wide = len(profiler.serialize()), len(_tracked(rows, FEATURES).serialize())
    seconds = best_cpu_s({"serialize": profiler.serialize}, rounds)["serialize"]
    say(f"    profiles: {ROWS / best['narrow']:,.0f} rows/s, {size / 1e3:.0f} kB")
    return [
        Figure(
            name="rows_per_s", says=f"profiled, {COLUMNS} columns, batches of {BATCH}", value=ROWS / best["narrow"],
            unit="rows/s", bound=ROWS_PER_S, at_most=False, baseline=len(plain) / best["whylogs"],
            against="whylogs's own row by row",
        ),
        Figure(
            name="rows_per_s_all", says=f"profiled, all {len(FEATURES)} columns", value=ROWS / best["all"],
            unit="rows/s",
        ),
        Figure(
            name="bytes", says=f"profile of {ROWS:,} rows, {COLUMNS} columns", value=size, unit="bytes",
            bound=PROFILE_BYTES, baseline=_default_bytes(rows, kept), against="whylogs's default sketches",
        ),
        Figure(name="bytes_all", says=f"profile of {ROWS:,} rows, all columns", value=wide, unit="bytes"),
        Figure(name="serialize_ms", says=f"serialising it, {COLUMNS} columns", value=seconds * 1e3, unit="ms"),
    ]  # fmt: skip


def _whylogs_own() -> Callable[[Sequence[dict[str, Any]]], Any]:
    """whylogs's public way: a profile tracked row by row."""
    vars(np)["unicode_"] = np.str_  # whylogs 1.6.4 asks for a name that numpy 2 dropped
    load_whylogs()
    from whylogs.core.dataset_profile import DatasetProfile

    def track(rows: Sequence[dict[str, Any]]) -> Any:
        profile = DatasetProfile()
        for row in rows:
            profile.track(row=row)
        return profile.view()

    return track


def _default_bytes(rows: list[Features], kept: list[str]) -> int:
    """Bytes of the same columns in sketches of whylogs's default size."""
    whylogs = load_whylogs()
    columns = {}
    for name in kept:
        metrics = {key: whylogs.StandardMetric[key].zero(whylogs.MetricConfig())
                   for key in ("counts", "types", "distribution", "cardinality", "frequent_items")}  # fmt: skip
        numbers = [row.numbers[name] for row in rows if name in row.numbers]
        if numbers:
            metrics["distribution"].kll.value.update(np.array(numbers))
            metrics["cardinality"].hll.value.update_np(np.array(numbers))
        else:
            metrics["cardinality"].hll.value.update_str_list([row.labels.get(name, "") for row in rows])
        columns[name] = whylogs.ColumnProfileView(metrics)
    view = whylogs.DatasetProfileView(columns=columns, dataset_timestamp=EPOCH, creation_timestamp=EPOCH)
    return len(view.serialize())


def _distances(rows: list[Features], rounds: int) -> list[Figure]:
    some = [feature for feature in _chosen() if feature.kind is not Kind.LABEL]
    one, other = (_tracked(part, some).serialize() for part in (rows, rows[ROWS // 2 :]))
    names = [feature.name for feature in some]
    table = np.array([[row.numbers.get(name, 0.0) for name in names] for row in rows])
    best = best_cpu_s(
        {"ours": lambda: distances(one, other), "exact": lambda: _exact_ks(table, table[ROWS // 2 :])}, rounds
    )
    return [
        Figure(
            name="distances_ms", says=f"distances, {DISTANCE_COLUMNS} columns of {ROWS:,} rows, read and compared",
            value=best["ours"] * 1e3, unit="ms", baseline=best["exact"] * 1e3, against="exact KS on the raw rows",
        )
    ]  # fmt: skip


def _exact_ks(one: Any, other: Any) -> list[float]:
    out = []
    for column in range(one.shape[1]):
        a, b = np.sort(one[:, column]), np.sort(other[:, column])
        points = np.concatenate([a, b])
        below = [np.searchsorted(side, points, side="right") / len(side) for side in (a, b)]
        out.append(float(np.abs(below[0] - below[1]).max()))
    return out
