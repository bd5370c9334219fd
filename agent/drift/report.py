"""The Evidently page of an alarm, made in a process of its own that ends with its memory.

Lives here: `build_report`, and the program it starts (`python -m agent.drift.report`), which alone imports pandas and
evidently. Comes in: feature rows of the reference and of the window, and what they are. Goes out: an HTML page that
says above what is compared, and the same as JSON.
Must never know: how the alarm came. The page is for looking; the detector has already decided.
"""

from __future__ import annotations

import html
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.types import InvalidInput, RemoteFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEMORY_BYTES = 2 << 30
TIMEOUT_S = 300.0
"""Importing evidently from a cold disk alone can take a minute and a half."""
LEAST_ROWS = 10
_NUMBERS, _LABELS = "wasserstein", "jensenshannon"
"""Distances rather than p-values: Evidently sorts by score, largest first, so what moved most stands on top."""
HEADLINE = (
    'The headline below, "Dataset Drift", is Evidently\'s: it says whether half of the columns or more moved, each by a'
    " fixed distance. It is no alarm and no all-clear; those come from Trimtab's detector."
)
_ABOUT = "about.json"
_BODY = "<body>"
_STYLE = (
    "font: 15px/1.5 sans-serif; max-width: 60em; margin: 1em auto; padding: 1em; border: 1px solid #999;"
    " color: #111; background: #fff"
)
_ENVIRONMENT = {"DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


def build_report(
    reference: Sequence[Mapping[str, object]],
    window: Sequence[Mapping[str, object]],
    out_html: Path,
    about: Mapping[str, str | int | None],
    *,
    memory_bytes: int = MEMORY_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Write `out_html` and, beside it, the same name with `.json`, each whole or not at all. Returns the JSON's path.

    `about` says what is compared; it heads the page, None left out, and stands in the JSON under `trimtab`.
    Raises InvalidInput for too few rows, RemoteFault if the subprocess fails, runs out of memory or of time.
    """
    if min(len(reference), len(window)) < LEAST_ROWS:
        msg = f"a report needs {LEAST_ROWS} rows on each side, not {len(reference)} and {len(window)}: wait for more"
        raise InvalidInput(msg)
    out_html.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=out_html.parent) as folder:
        rows = Path(folder) / "rows.jsonl"
        with rows.open("w", encoding="utf-8") as file:
            for side, part in (("reference", reference), ("window", window)):
                file.writelines(json.dumps({"side": side, "row": dict(row)}) + "\n" for row in part)
        about = {**about, "reference_rows": len(reference), "window_rows": len(window), "headline": HEADLINE}
        (Path(folder) / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        _run([str(rows.resolve()), str(Path(folder).resolve()), str(memory_bytes)], timeout_s)  # it works elsewhere
        out_json = out_html.with_suffix(".json")
        (Path(folder) / "report.json").replace(out_json)
        (Path(folder) / "report.html").replace(out_html)
    return out_json


def _run(arguments: list[str], timeout_s: float) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "agent.drift.report", *arguments],
            env=os.environ | _ENVIRONMENT,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RemoteFault(f"the report took longer than {timeout_s:g} s and was stopped") from error
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise RemoteFault(f"the report process failed (exit {done.returncode}): {last}")


def _main(rows: Path, folder: Path, memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    sides: dict[str, list[dict[str, Any]]] = {"reference": [], "window": []}
    with rows.open(encoding="utf-8") as file:
        for line in file:
            document = json.loads(line)
            sides[document["side"]].append(document["row"])
    _evidently(sides["reference"], sides["window"], folder)


def _evidently(reference: list[dict[str, Any]], window: list[dict[str, Any]], folder: Path) -> None:
    import warnings

    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    one, other = pd.DataFrame(reference), pd.DataFrame(window)
    both = [
        name for name in one.columns if name in other.columns and one[name].notna().any() and other[name].notna().any()
    ]
    both = [name for name in both if len(pd.concat([one[name], other[name]]).unique()) > 1] or both
    numbers = [
        name for name in both if pd.api.types.is_numeric_dtype(one[name]) and pd.api.types.is_numeric_dtype(other[name])
    ]
    labels = [name for name in both if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=labels)
    sides = [Dataset.from_pandas(frame[both].astype(dict.fromkeys(labels, str)), definition) for frame in (other, one)]
    preset = DataDriftPreset(num_method=_NUMBERS, cat_method=_LABELS)
    snapshot = Report([preset]).run(sides[0], sides[1])
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    page = folder / "report.html"
    snapshot.save_html(str(page))
    before, body, after = page.read_text(encoding="utf-8").partition(_BODY)
    page.write_text(f"{before}{body}{_heading(about)}{after}", encoding="utf-8")
    document = {"trimtab": about, **json.loads(snapshot.json())}
    (folder / "report.json").write_text(json.dumps(document), encoding="utf-8")


def _heading(about: dict[str, str | int | None]) -> str:
    """What is compared, as a block of HTML."""
    told = {name: html.escape(str(value), quote=False) for name, value in about.items() if value is not None}
    title = f"{told.pop('alias')}: {told.pop('version')}"
    headline = told.pop("headline")
    lines = "".join(f"<div><b>{name.replace('_', ' ')}</b>: {value}</div>" for name, value in told.items())
    return f'<section style="{_STYLE}"><h2>{title}</h2>{lines}<p>{headline}</p></section>'


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
