"""The benchmark runs, part by part, and what it says finds its way into a README."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import PARTS
from tests.bench.figures import ROOT, Figure, keep, machine
from tests.bench.table import fill

FIELDS = {
    "tap": {"full_tap_us", "full_all_us", "full_rewrite_us", "19kb_tap_us", "sse_event_tap_us", "sse_event_all_us"},
    "latency": {"stub_1_ttft_p50_us", "stub_1_ttft_p99_us", "stub_4_gap_p50_us", "stub_4_gap_p99_us", "stub_4_cpu_us"},
    "overload": {"unreachable_miscounted", "restarting_miscounted", "paced_miscounted", "restarting_p99_ms"},
    "intake": {"whole_per_s", "streamed_per_s", "tokens_per_s", "technical_whole_per_s"},
    "storage": {"rows_per_s", "rows_per_s_wall"},
    "profile": {"features_us", "technical_features_us", "rows_per_s", "bytes", "distances_ms"},
    "drift": {"backtest_s_per_1000", "update_us", "state_bytes"},
    "sidecar": {"rest_mb", "empty_mb", "start_s"},
    "agent": {
        "cores_0",
        "cores_10",
        "cores_1000",
        "lost_1000",
        "catch_up_s",
        "catch_up_lost",
        "database_gb_per_million",
    },
    "scrape": {"look_ms", "ms_1000", "ms_10000", "openmetrics_ms_10000", "http_ms", "late_s"},
    "fleet": {"cores", "server_cores", "scrape_ms", "status_ms", "missing"},
    "training": {"tokens_per_s", "tokens_ratio", "packed_per_s", "peak_mb", "time_off"},
    "curation": {"rows_per_s", "seconds", "peak_mb", "wrong_caught", "copies_caught"},
    "order": {"minutes", "peak_mb", "accepted", "curate_s", "train_s", "evaluate_s", "gate_s"},
}


@pytest.mark.slow
def test_every_part_runs_and_writes_its_fields(tmp_path: Path) -> None:
    """A quick run leaves one file with every part, its machine and its figures, all of them numbers."""
    out = tmp_path / "bench.json"
    argv = [sys.executable, "-m", "tests.bench", "--quick", "--out", str(out)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    parts: dict[str, Any] = json.loads(out.read_text())["parts"]
    assert tuple(parts) == PARTS
    for name, part in parts.items():
        assert {figure["name"] for figure in part["figures"]} >= FIELDS[name]
        assert all(math.isfinite(figure["value"]) for figure in part["figures"])
        assert part["cpu"]
        assert part["quick"]


def test_a_table_stands_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    """The table replaces what stood between the markers of its part; all other text stays."""
    figure = Figure(name="x", says="an x", value=12.0, unit="us", bound=10, baseline=4.0, against="no x")
    out = tmp_path / "bench.json"
    keep(out, "tap", [figure], machine() | {"quick": False, "load_after": 1.0, "elapsed_s": 1.0})
    parts = json.loads(out.read_text())["parts"]
    text = "before\n<!-- bench:tap -->\nold\n<!-- /bench -->\n<!-- bench:other -->\nkept\n<!-- /bench -->\n"
    new = fill(text, parts)
    assert "| an x | 12.0 us **missed** | at most 10.0 | 3.00 | no x: 4.00 |" in new
    assert "old" not in new
    assert new.startswith("before\n<!-- bench:tap -->\n| what |")
    assert new.endswith("<!-- bench:other -->\nkept\n<!-- /bench -->\n")
    assert fill(new, parts) == new


def test_a_part_measured_anew_leaves_the_others(tmp_path: Path) -> None:
    """Each part is written beside those that are there."""
    out = tmp_path / "bench.json"
    for name in ("tap", "drift", "tap"):
        keep(out, name, [], {"quick": True})
    assert set(json.loads(out.read_text())["parts"]) == {"tap", "drift"}
