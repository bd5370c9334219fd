"""The one way into whylogs: without usage statistics, pandas, scipy, scikit-learn or Pillow.

Lives here: `load_whylogs`, for every room that writes or reads profiles.
Comes in: nothing. Goes out: whylogs's modules, loaded at about 30 MB instead of 190 MB.
Must never know: what is in a profile.

whylogs imports pandas, scipy, scikit-learn and Pillow where they are installed and works without them. Here they are
hidden from whylogs's own import statements and from nobody else's, so the rest of the process can use them.
In such a process `why.log(DataFrame)` and `view.to_pandas()` do not work; merging, reading and writing do.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_HIDDEN = frozenset({"PIL", "pandas", "scipy", "sklearn"})
_lock = threading.Lock()
_loaded: list[Whylogs] = []


@dataclass(frozen=True, slots=True)
class Whylogs:
    """The few names of whylogs that are used here."""

    DatasetProfileView: Any
    ColumnProfileView: Any
    StandardMetric: Any
    MetricConfig: Any


def load_whylogs() -> Whylogs:
    """Whylogs, imported at the first call (0.3 s). Safe to call from any thread."""
    with _lock:
        if not _loaded:
            os.environ["WHYLOGS_NO_ANALYTICS"] = "1"
            with _hidden_from_whylogs():
                _loaded.append(_import())
        return _loaded[0]


def _import() -> Whylogs:
    from whylogs.core.metrics import MetricConfig, StandardMetric
    from whylogs.core.proto import ColumnMessage
    from whylogs.core.view.column_profile_view import ColumnProfileView
    from whylogs.core.view.dataset_profile_view import DatasetProfileView

    ColumnProfileView.from_protobuf(ColumnMessage())  # whylogs puts some imports off until the first read
    return Whylogs(DatasetProfileView, ColumnProfileView, StandardMetric, MetricConfig)


@contextmanager
def _hidden_from_whylogs() -> Iterator[None]:
    """While it lasts, modules of whylogs (only these) are told that the heavy packages are not installed."""
    real = builtins.__import__
    hidden = _HIDDEN - set(sys.modules)

    def hiding(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names are Python's
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level == 0 and name.partition(".")[0] in hidden:
            importer = str((globals or {}).get("__name__", ""))
            if importer.partition(".")[0] == "whylogs":
                raise ModuleNotFoundError(f"{name} is hidden from whylogs", name=name)
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = hiding
    try:
        yield
    finally:
        builtins.__import__ = real
