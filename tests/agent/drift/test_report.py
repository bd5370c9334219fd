"""The Evidently page: made in another process, whole or not at all."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from agent.drift.report import HEADLINE, build_report
from agent.types import InvalidInput, RemoteFault

ABOUT = {"alias": "home", "version": "home-v1", "reference": "ref.jsonl", "alarm": "since <noon>, new words"}


def _rows(seed: int, shift: float) -> list[dict[str, object]]:
    r = random.Random(seed)
    kept: dict[str, object] = {"empty": None, "fixed": 0.0}
    return [{"length": r.gauss(shift, 1), "reason": r.choice(["stop", "length"]), **kept} for _ in range(60)]


@pytest.mark.slow
def test_report_is_written_and_pandas_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page and its JSON appear, nothing else is left behind, and this process has not loaded evidently.

    The folder is a relative one, as `home` is unless it is set.
    """
    before = "evidently" in sys.modules
    monkeypatch.chdir(tmp_path)
    out = build_report(_rows(1, 0), _rows(2, 2), Path("alarm.html"), ABOUT)
    assert out == Path("alarm.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alarm.html", "alarm.json"]
    document = json.loads(out.read_text())
    assert document["trimtab"].items() >= {**ABOUT, "reference_rows": 60, "window_rows": 60}.items()
    head = Path("alarm.html").read_text().partition("<body>")[2][:1500]
    assert all(part in head for part in ("<h2>home: home-v1</h2>", "since &lt;noon&gt;, new words", HEADLINE[-40:]))
    said = json.dumps(document["metrics"])
    assert "length" in said
    assert "fixed" not in said  # what never varies would fill the first page
    assert "wasserstein" in said  # a distance: the table is sorted by it, largest first
    assert ("evidently" in sys.modules) == before


def test_failure_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """Out of memory, the process ends, one sentence says so, and no half page is left."""
    with pytest.raises(RemoteFault, match="report process failed"):
        build_report(_rows(1, 0), _rows(2, 2), tmp_path / "alarm.html", ABOUT, memory_bytes=60 << 20)
    assert list(tmp_path.iterdir()) == []


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    """A handful of rows makes no page."""
    with pytest.raises(InvalidInput, match="10 rows"):
        build_report(_rows(1, 0)[:5], _rows(2, 2), tmp_path / "alarm.html", ABOUT)
