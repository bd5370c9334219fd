"""`python -m dashboards` writes each dashboard beside its source as JSON, ready to import into Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.drift import drift
from dashboards.overview import overview
from dashboards.quality import quality
from dashboards.rollout import rollout

if TYPE_CHECKING:
    from dashboards.panels import Json

HERE = Path(__file__).parent
DASHBOARDS = {"overview.json": overview, "drift.json": drift, "quality.json": quality, "rollout.json": rollout}


def written(document: Json) -> str:
    """A dashboard as it stands in its file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    for name, build in DASHBOARDS.items():
        (HERE / name).write_text(written(build()), encoding="utf-8")


if __name__ == "__main__":
    main()
