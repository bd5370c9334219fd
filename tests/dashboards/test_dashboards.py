"""A dashboard must be what its source says, and ask only for what exists."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent.export.metrics import METRICS
from dashboards.__main__ import DASHBOARDS, HERE, written
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNITS = {"percentunit", "short", "reqps", "opm", "bytes", "s"}
STAND_INS = {"$alias": "home", "$version": "home-v1", "$__rate_interval": "1m", "$__interval": "1m"}
every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    """The panels of a dashboard, rows too."""
    found: list[dict[str, Any]] = DASHBOARDS[name]()["panels"]
    return found


def queries(name: str) -> Iterator[str]:
    """Every PromQL expression: panels, annotations, variables."""
    document = DASHBOARDS[name]()
    for panel in document["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    yield from (item["expr"] for item in document["annotations"]["list"])
    for item in document["templating"]["list"]:
        if item["type"] == "query":
            inner = re.fullmatch(r"label_values\((.*), \w+\)", item["query"]["query"])
            assert inner is not None
            yield inner[1]


@every_dashboard
def test_the_file_is_what_the_source_writes(name: str) -> None:
    """Nobody edits the JSON by hand."""
    assert (HERE / name).read_text(encoding="utf-8") == written(DASHBOARDS[name]()), "run: python -m dashboards"


@every_dashboard
def test_it_can_be_imported_anywhere(name: str) -> None:
    """A fixed uid, and the data source as a variable in every query."""
    document = DASHBOARDS[name]()
    assert re.fullmatch(r"trimtab-[a-z]+", document["uid"])
    assert document["templating"]["list"][0] == {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
    }
    text = json.dumps(document)
    assert text.count('"datasource": {') == text.count('"uid": "${datasource}"') > 20


@every_dashboard
def test_every_panel_is_complete(name: str) -> None:
    """Title, description, a known unit, and queries with letters of their own."""
    ids = [panel["id"] for panel in panels(name)]
    assert len(ids) == len(set(ids))
    for panel in panels(name):
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(letters) == len(set(letters))
        assert all(target["expr"] for target in panel["targets"])


@every_dashboard
def test_no_two_panels_share_a_place(name: str) -> None:
    """Panels lie inside the grid and beside each other."""
    places = [panel["gridPos"] for panel in panels(name)]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@every_dashboard
def test_it_asks_only_for_metrics_and_labels_that_exist(name: str) -> None:
    """A renamed metric must not leave an empty panel behind."""
    declared = {metric.name: set(metric.labels) for metric in METRICS}
    for expr in queries(name):
        used = re.findall(r"(trimtab_\w+)(?:\{([^}]*)\})?", expr)
        assert used, expr
        for metric, selector in used:
            assert metric in declared, f"{metric} in {expr}"
            assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", selector)) <= declared[metric], expr
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(", ")}
        assert grouped <= set().union(*(declared[metric] for metric, _ in used)), expr


@every_dashboard
def test_prometheus_can_parse_every_query(name: str, tmp_path: Path) -> None:
    """With its variables filled in, each query is PromQL."""
    promtool = need("promtool", "sudo apt-get install -y --no-install-recommends prometheus")
    rules = []
    for number, query in enumerate(queries(name)):
        filled = query
        for variable, value in STAND_INS.items():
            filled = filled.replace(variable, value)
        assert "$" not in filled, filled
        rules.append({"record": f"query:{number}", "expr": filled})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    ran = subprocess.run(
        [promtool, "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
