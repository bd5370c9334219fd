"""`python -m dashboards` writes each dashboard beside its source and into the chart, ready to import into Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.drift import drift
from dashboards.overview import overview
from dashboards.quality import quality
from dashboards.retraining import retraining
from dashboards.rollout import rollout

if TYPE_CHECKING:
    from dashboards.panels import Json

HERE = Path(__file__).parent
CHART = HERE.parent / "helm" / "trimtab" / "files" / "dashboards"
"""Where the chart takes them from: a chart cannot read outside its own folder."""
DASHBOARDS = {
    "overview.json": overview,
    "drift.json": drift,
    "quality.json": quality,
    "retraining.json": retraining,
    "rollout.json": rollout,
}


def written(document: Json) -> str:
    """A dashboard as it stands in its file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    for name, build in DASHBOARDS.items():
        for folder in (HERE, CHART):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(written(build()), encoding="utf-8")


if __name__ == "__main__":
    main()
