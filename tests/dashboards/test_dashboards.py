"""A dashboard must be what its source says, and ask only for what exists."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from agent.export.metrics import METRICS
from dashboards.__main__ import DASHBOARDS, HERE, written
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNITS = {"percentunit", "short", "reqps", "bytes", "s", "suffix: sd"}
KINDS = {"timeseries", "stat", "bargauge", "state-timeline", "table", "text"}
STAND_INS = {
    "$namespace": ".*", "$alias": "home", "$version": "home-v1", "$measure": "ks", "$__rate_interval": "1m",
    "$__interval": "1m",
}  # fmt: skip
PROMETHEUS_OWN = {
    "ALERTS": {"alertname", "alertstate", "severity", "alias"},
    "ALERTS_FOR_STATE": {"alertname", "severity", "alias"},
}
FIRST_GROUP = '"$1"'
"""What label_replace puts in; Grafana knows no variable of that name and leaves it."""
FINDS_NAMESPACES = "trimtab_build_info"
RECORDED = set(
    re.findall(r"record: (\S+)", (HERE.parent / "alerts" / "trimtab.rules.yaml").read_text(encoding="utf-8"))
)
every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    """The panels of a dashboard, rows too."""
    found: list[dict[str, Any]] = DASHBOARDS[name]()["panels"]
    return found


def shown(name: str) -> list[dict[str, Any]]:
    """The panels that ask for something."""
    return [panel for panel in panels(name) if panel["type"] not in ("row", "text")]


def queries(name: str) -> Iterator[str]:
    """Every PromQL expression: panels, annotations, variables."""
    document = DASHBOARDS[name]()
    for panel in shown(name):
        yield from (target["expr"] for target in panel["targets"])
    yield from (item["expr"] for item in document["annotations"]["list"])
    for item in document["templating"]["list"]:
        if item["type"] == "query":
            inner = re.fullmatch(r"label_values\((.*), \w+\)", item["query"]["query"])
            assert inner is not None
            yield inner[1]


def filled(query: str) -> str:
    """A query with its variables filled in, as Grafana does it."""
    for variable, value in STAND_INS.items():
        query = query.replace(variable, value)
    assert "$" not in query.replace(FIRST_GROUP, ""), query
    return query


@every_dashboard
def test_the_file_is_what_the_source_writes(name: str) -> None:
    """Nobody edits the JSON by hand."""
    assert (HERE / name).read_text(encoding="utf-8") == written(DASHBOARDS[name]()), "run: python -m dashboards"


@every_dashboard
def test_it_can_be_imported_anywhere(name: str) -> None:
    """A fixed uid, and the data source as a variable in every query."""
    document = DASHBOARDS[name]()
    assert document["uid"] == f"trimtab-{name.removesuffix('.json')}"
    assert document["schemaVersion"] >= 39
    assert "id" not in document
    first = document["templating"]["list"][0]
    assert (first["type"], first["name"], first["query"]) == ("datasource", "datasource", "prometheus")
    text = json.dumps(document)
    assert text.count('"datasource": {') == text.count('"uid": "${datasource}"') > 20


def test_no_two_dashboards_are_taken_for_one() -> None:
    """Uids and titles are each dashboard's own."""
    documents = [build() for build in DASHBOARDS.values()]
    assert len({d["uid"] for d in documents}) == len({d["title"] for d in documents}) == len(DASHBOARDS) == 5


@every_dashboard
def test_it_has_what_all_have(name: str) -> None:
    """Variables for namespace, model and adapter, marks for alarms, orders and swaps, links to page and runbook."""
    document = DASHBOARDS[name]()
    variables = {item["name"] for item in document["templating"]["list"]}
    assert variables >= {"datasource", "namespace", "alias", "version", "status_page", "runbook"}
    assert {item["name"] for item in document["annotations"]["list"]} == {
        "drift alarm", "order opened", "swap", "rolled back",
    }  # fmt: skip
    assert {item.get("url") for item in document["links"]} == {None, "${status_page}", "${runbook}"}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(document))) - {"__rate_interval", "__all", "1"}
    assert used <= variables


@every_dashboard
def test_every_panel_is_complete(name: str) -> None:
    """Title, description, a known unit, and queries with letters of their own."""
    ids = [panel["id"] for panel in panels(name)]
    assert len(ids) == len(set(ids))
    for panel in panels(name):
        assert panel["title"]
        if panel["type"] in ("row", "text"):
            assert panel["type"] == "row" or panel["options"]["content"].strip()
            continue
        assert panel["type"] in KINDS
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
def test_no_row_has_a_hole(name: str) -> None:
    """Panels fill their row: a low one alone in a corner looks as if something were missing."""
    found = panels(name)
    starts = [number for number, panel in enumerate(found) if panel["type"] == "row"]
    for start, end in itertools.pairwise([*starts, len(found)]):
        places = [panel["gridPos"] for panel in found[start + 1 : end]]
        bottom = max(place["y"] + place["h"] for place in places)
        assert sum(place["w"] * place["h"] for place in places) == 24 * (bottom - found[start]["gridPos"]["y"] - 1)


@every_dashboard
def test_a_title_fits_its_panel(name: str) -> None:
    """Seen at a width of 1,600 pixels: Grafana cuts what is longer."""
    for panel in panels(name):
        assert len(panel["title"]) <= 6.5 * panel["gridPos"]["w"], panel["title"]


@every_dashboard
def test_a_single_figure_is_of_now(name: str) -> None:
    """Asked over a range, the last value of a state that is over (`== 1`) is shown as if it held."""
    for panel in shown(name):
        if panel["type"] == "stat":
            assert all(target["instant"] and not target["range"] for target in panel["targets"]), panel["title"]
        for target in panel["targets"]:
            if target["expr"].endswith("== 1"):
                assert (panel["type"], panel["options"]["textMode"]) == ("stat", "name")


@every_dashboard
def test_nothing_is_divided_by_a_rate_of_zero(name: str) -> None:
    """A version that answers nobody any more would be NaN, and Grafana draws no axis over NaN."""
    for expr in queries(name):
        for divisor in re.findall(r" / (\(?[^/]*)", expr):
            assert "rate(" not in divisor or "> 0)" in divisor, expr


@every_dashboard
def test_a_bar_tells_its_length_from_zero(name: str) -> None:
    """Without a lower end Grafana takes the smallest value for it, and shows that one as nothing."""
    for panel in shown(name):
        if panel["type"] == "bargauge":
            assert panel["fieldConfig"]["defaults"]["min"] == 0


@every_dashboard
def test_a_state_is_a_bar_and_no_state_is_none(name: str) -> None:
    """Without words for 0 and 1 every line of a state timeline is full, in one colour."""
    for panel in shown(name):
        if panel["type"] == "state-timeline":
            (words,) = panel["fieldConfig"]["defaults"]["mappings"]
            assert words["options"]["0"]["color"] == "transparent" != words["options"]["1"]["color"]


@every_dashboard
def test_a_legend_of_many_is_a_table(name: str) -> None:
    """Loops and features are ten and more: side by side under the graph nobody finds one."""
    for panel in shown(name):
        if panel["type"] == "timeseries":
            many = any(re.search(r"by \((loop|feature)\)", target["expr"]) for target in panel["targets"])
            assert panel["options"]["legend"]["displayMode"] == "table" or not many, panel["title"]


@every_dashboard
def test_diamonds_are_asked_for_only_where_they_are_explained(name: str) -> None:
    """They lie at the height of their own value: over a share they would look like data."""
    for panel in shown(name):
        asked = any(target.get("exemplar") for target in panel["targets"])
        assert asked == ("diamonds" in panel["description"]), panel["title"]
        assert not asked or panel["fieldConfig"]["defaults"]["unit"] != "percentunit"


@every_dashboard
def test_it_asks_only_for_metrics_and_labels_that_exist(name: str) -> None:
    """A renamed metric must not leave an empty panel behind."""
    declared = {metric.name: set(metric.labels) for metric in METRICS} | PROMETHEUS_OWN
    for expr in queries(name):
        used = re.findall(r"(trimtab_\w+|ALERTS\w*)(?:\{([^}]*)\})?", expr)
        recorded = re.findall(r"trimtab:[\w:]+", expr)
        assert set(recorded) <= RECORDED
        assert used or recorded, expr
        for metric, selector in used:
            assert metric in declared, f"{metric} in {expr}"
            assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", selector)) <= declared[metric] | {"namespace"}, expr
            assert 'namespace=~"$namespace"' in selector or expr == FINDS_NAMESPACES, expr
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(", ")}
        assert grouped <= set().union(*(declared[metric] for metric, _ in used)), expr


def test_every_metric_is_shown_or_alerted_on() -> None:
    """A metric that nobody looks at, `trimtab_text_paused` among them, is work for nothing, or a forgotten panel."""
    rules = (HERE.parent / "alerts" / "trimtab.rules.yaml").read_text(encoding="utf-8")
    asked = " ".join((rules, *(expr for name in DASHBOARDS for expr in queries(name))))
    used = set(re.findall(r"trimtab_\w+", asked))
    assert {metric.name for metric in METRICS} - used == set()


@every_dashboard
def test_prometheus_can_parse_every_query(name: str, tmp_path: Path) -> None:
    """With its variables filled in, each query is PromQL."""
    promtool = need("promtool", "sudo apt-get install -y --no-install-recommends prometheus")
    rules = []
    for number, query in enumerate(queries(name)):
        rules.append({"record": f"query:{number}", "expr": filled(query)})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    ran = subprocess.run(
        [promtool, "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout


def _unknown(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Places in our document that are not, or otherwise, in theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from _unknown(value, theirs.get(key), f"{place}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _unknown(one, other, f"{place}/{number}")
    elif ours != theirs:
        yield place


@every_dashboard
def test_every_field_is_one_that_grafana_knows(name: str) -> None:
    """Read by the models that are generated from Grafana's schemas, and written again, nothing must be lost."""
    plugins.register_default_plugins()
    ours = json.loads((HERE / name).read_text(encoding="utf-8"))
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    lost = {place.rpartition("/")[2] for place in _unknown(ours, theirs)}
    assert lost <= {"useValueForTime", "titleFormat"}, "only these two of a mark are the data source's own"
