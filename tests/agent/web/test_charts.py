"""The charts of the status page: what is known is seen."""

from __future__ import annotations

import re

from agent.store.snapshot import QualityPoint
from agent.web.charts import quality_chart


def test_the_only_estimate_of_a_version_is_seen() -> None:
    """A path of one point draws nothing: line and band of it go a little to the left."""
    drawn = quality_chart([QualityPoint(rowid=900, version="v1", value=0.5, low=0.4, high=0.6)], [], 1000, {"v1": 0})
    (line,) = re.findall(r'class="line hue0" d="([^"]*)"', drawn)
    (band,) = re.findall(r'class="band hue0" d="([^"]*)"', drawn)
    assert re.findall(r"[\d.]+,[\d.]+", line) == ["890.0,166.7", "900.0,166.7"]
    assert len(set(re.findall(r"[\d.]+,[\d.]+", band))) == 4
