"""The detectors that are compared, each made to speak one language: events of (row, level).

Lives here: `GROUPS`. Comes in: a stream. Goes out, per detector: events; a detector alarms at a row when the event's
level reaches its threshold. Must never know: where the change is, or how events are scored.

Detectors on windows give an event a window, whose level is their own statistic, so that any threshold can be tried on
them afterwards. ADWIN and Page-Hinkley run at several settings; the level is the number of the strictest that fired.
Evidently's and whylogs' own functions are called, without the reports around them; they run in a process of their own.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.drift.adaptive import Adaptive
from agent.drift.baselines import KS_LEVEL, PSI_TOO_FAR, WINDOW_ROWS, Threshold, ks_limit
from agent.drift.descriptors import NAMES, Descriptors, parted
from agent.drift.detector import Detector
from agent.drift.records import Record, record_of
from agent.types import Exchange
from tests.scenarios.changes import REFERENCE_ROWS, Stream

TRIMTAB = "trimtab"
_LEAST_P = 1e-300


@dataclass(slots=True)
class Heard:
    """What a detector said about one stream; `cpu_s` includes learning the reference."""

    events: list[tuple[int, float]] = field(default_factory=list)
    cpu_s: float = 0.0


Group = Callable[[Stream, int, int], dict[str, Heard]]
"""(stream, budget in rows, seed) -> what each detector of the group said."""

SETTINGS = {
    "page-hinkley": (50.0, 75.0, 100.0, 150.0, 250.0, 400.0),
    "adwin": (0.002, 1e-4, 1e-6, 1e-9, 1e-13, 1e-20),
}
"""From river's own to the strictest."""

PLUS = " + new words"
"""Detectors so named also watch the share of words that are not in the reference: a number no tool ships."""
SURFACE = [i for i, name in enumerate(NAMES) if not name.endswith("new_words")]
ALL = list(range(len(NAMES)))
VIEWS = (("", SURFACE), (PLUS, ALL))

_P_TOO_SMALL = -math.log10(KS_LEVEL)
_SHIPPED = {
    "KS p < 0.05": ks_limit(REFERENCE_ROWS // 2, KS_LEVEL / len(SURFACE)),
    "KS p < 0.05, windows of 500": ks_limit(REFERENCE_ROWS // 2, KS_LEVEL / len(SURFACE), 500),
    "PSI > 0.2": PSI_TOO_FAR,
    "river Page-Hinkley": 1.0,
    "river ADWIN": 1.0,
    "Evidently, any column": _P_TOO_SMALL,
    "Evidently, half the columns": 0.5,
    "whylogs KS": _P_TOO_SMALL,
    "whylogs Hellinger": 0.4,
}
AS_SHIPPED: Mapping[str, float] = {
    TRIMTAB: 1.0,
    **_SHIPPED,
    "Evidently, text": 0.55,
    **{name + PLUS: level for name, level in _SHIPPED.items()},
}
"""The level at which each detector alarms as it comes."""
BY_SETTING = frozenset(f"river {name}{plus}" for name in ("Page-Hinkley", "ADWIN") for plus in ("", PLUS))
"""Detectors whose level is the number of a setting: each setting is a run of its own."""


def trimtab(stream: Stream, budget_rows: int, seed: int) -> dict[str, Heard]:
    """The live agent's detector; an alarm is an event of level 1."""
    began_s = time.process_time()
    reference = [record_of(exchange) for exchange in stream.reference]
    detector = Detector.fit(reference, alias="home", version="home-v1", budget_rows=budget_rows, seed=seed)
    events = [(row, 1.0) for row, exchange in enumerate(stream.live) if detector.update(record_of(exchange))]
    return {TRIMTAB: Heard(events, time.process_time() - began_s)}


class _Remembering(Descriptors):
    """Descriptors that are taken once a record, however many settings are tried."""

    def __init__(self, counted: list[Record]) -> None:
        super().__init__(counted)
        self._rows: dict[str, Any] = {}

    def row(self, record: Record) -> Any:
        """As the base class's."""
        if record.id not in self._rows:
            self._rows[record.id] = super().row(record)
        return self._rows[record.id]

    def forget(self) -> None:
        """So that the next detector pays for its numbers."""
        self._rows.clear()


def plain(stream: Stream, budget_rows: int, seed: int) -> dict[str, Heard]:
    """Thresholds on windows, and river."""
    reference = [record_of(exchange) for exchange in stream.reference]
    live = [record_of(exchange) for exchange in stream.live]
    counted, compared = parted(reference)
    descriptors = _Remembering(counted)
    out: dict[str, Heard] = {}
    for said, name, rows in (
        ("KS p < 0.05", "ks", WINDOW_ROWS),
        ("KS p < 0.05, windows of 500", "ks", 500),
        ("PSI > 0.2", "psi", WINDOW_ROWS),
    ):
        began_s = time.process_time()
        descriptors.forget()
        threshold = Threshold(name, descriptors, compared, rows)
        far: list[tuple[int, list[float]]] = []
        for row, record in enumerate(live):
            threshold.update(record)
            if threshold.far is not None:
                far.append((row, threshold.far))
        out |= _views(said, far, max, time.process_time() - began_s)
    for said, name in (("river Page-Hinkley", "page-hinkley"), ("river ADWIN", "adwin")):
        descriptors.forget()
        out |= _at_settings(said, name, descriptors, compared, live)
    return out


def _views(
    said: str, rows: list[tuple[int, list[float]]], level: Callable[[list[float]], float], cpu_s: float
) -> dict[str, Heard]:
    """Events from a number a descriptor, once without and once with the shares of new words."""
    return {
        said + plus: Heard([(row, float(level([values[i] for i in view]))) for row, values in rows], cpu_s)
        for plus, view in VIEWS
    }


def _at_settings(
    said: str, name: str, descriptors: Descriptors, compared: list[Record], live: list[Record]
) -> dict[str, Heard]:
    out = {said + plus: Heard() for plus, _ in VIEWS}
    shown = {NAMES[i] for i in SURFACE}
    for level, setting in enumerate(SETTINGS[name], start=1):
        began_s = time.process_time()
        detector = Adaptive(name, setting, descriptors, compared)
        for row, record in enumerate(live):
            if detector.update(record):
                out[said + PLUS].events.append((row, float(level)))
                if any(name in shown for name, _ in detector.fired):
                    out[said].events.append((row, float(level)))
        if level == 1:
            for heard in out.values():
                heard.cpu_s = time.process_time() - began_s
    return out


def evidently(stream: Stream, budget_rows: int, seed: int) -> dict[str, Heard]:
    """Evidently's own tests on windows of 100: KS on every descriptor, and its classifier of texts."""
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently.legacy.calculations.stattests import ks_stat_test
    from evidently.legacy.core import ColumnType
    from evidently.legacy.utils.data_drift_utils import calculate_text_drift_score

    began_s = time.process_time()
    reference, live = _columns(stream)
    columns = [pd.Series(reference[:, i]) for i in ALL]
    p: list[tuple[int, list[float]]] = []
    for end in _ends(stream):
        window = [pd.Series(live[end - WINDOW_ROWS : end, i]) for i in ALL]
        tested = [ks_stat_test(columns[i], window[i], ColumnType.Numerical, KS_LEVEL) for i in ALL]
        p.append((end - 1, [float(test.drift_score) for test in tested]))
    cpu_s = time.process_time() - began_s
    out = _views("Evidently, any column", p, _smallest, cpu_s)
    out |= _views("Evidently, half the columns", p, lambda v: float(np.mean(np.array(v) < KS_LEVEL)), cpu_s)
    began_s, text = time.process_time(), Heard()
    texts = [[pick(exchange) for exchange in stream.reference] for pick in _TEXTS]
    for end in _ends(stream):
        said = stream.live[end - WINDOW_ROWS : end]
        auc = [
            _separable(calculate_text_drift_score, pd.Series(side), pd.Series([pick(exchange) for exchange in said]))
            for side, pick in zip(texts, _TEXTS, strict=True)
        ]
        text.events.append((end - 1, max(auc)))
    text.cpu_s = time.process_time() - began_s
    return out | {"Evidently, text": text}


def _smallest(p: list[float]) -> float:
    return -math.log10(max(min(p), _LEAST_P))


_TEXTS: tuple[Callable[[Exchange], str], ...] = (lambda e: e.prompt, lambda e: e.answer)


def _separable(score: Callable[..., tuple[float, bool]], reference: Any, window: Any) -> float:
    try:
        return float(score(reference, window, False)[0])
    except ValueError:  # no words but stop words
        return 0.5


def whylogs(stream: Stream, budget_rows: int, seed: int) -> dict[str, Heard]:
    """whylogs' own drift scores between profiles of the reference and of windows of 100."""
    os.environ["WHYLOGS_NO_ANALYTICS"] = "1"
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # a constant column is told a thousand times
    for name in ("IPython", "IPython.core", "IPython.core.display"):  # its drift scores stand behind its notebook views
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["IPython.core.display"].HTML = str  # type: ignore[attr-defined]
    vars(np)["unicode_"] = np.str_  # whylogs 1.6 still asks for the name of NumPy 1
    import pandas as pd
    import whylogs as why
    from whylogs.viz.drift.column_drift_algorithms import KS, Hellinger

    began_s = time.process_time()
    reference, live = _columns(stream)
    usual = why.log(pd.DataFrame(reference, columns=NAMES)).view().get_columns()
    p: list[tuple[int, list[float]]] = []
    far: list[tuple[int, list[float]]] = []
    for end in _ends(stream):
        view = why.log(pd.DataFrame(live[end - WINDOW_ROWS : end], columns=NAMES)).view().get_columns()
        ks = [KS().calculate(view[name], usual[name]) for name in NAMES]
        hellinger = [Hellinger().calculate(view[name], usual[name]) for name in NAMES]
        p.append((end - 1, [1.0 if one is None else float(one.pvalue) for one in ks]))
        far.append((end - 1, [0.0 if one is None else float(one.statistic) for one in hellinger]))
    cpu_s = time.process_time() - began_s
    return _views("whylogs KS", p, _smallest, cpu_s) | _views("whylogs Hellinger", far, max, cpu_s)


GROUPS: dict[str, Group] = {TRIMTAB: trimtab, "plain": plain, "evidently": evidently, "whylogs": whylogs}
HEAVY = ("evidently", "whylogs")
"""Groups that hear fewer streams, for time."""


def _columns(stream: Stream) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    counted, compared = parted([record_of(exchange) for exchange in stream.reference])
    descriptors = Descriptors(counted)
    return (
        np.array([descriptors.row(record) for record in compared]),
        np.array([descriptors.row(record_of(exchange)) for exchange in stream.live]),
    )


def _ends(stream: Stream) -> range:
    return range(WINDOW_ROWS, len(stream.live) + 1, WINDOW_ROWS)
