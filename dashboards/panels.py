"""The few shapes that the dashboards are made of (pure).

Lives here: panels, rows, variables and their places on the grid, as the JSON that Grafana 11 and later import.
Comes in: titles, queries, units. Goes out: dicts, with ids, refIds and positions given here and nowhere else.
Must never know: which metrics exist.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
"""Every query goes to the data source that the reader picks."""
GRID_WIDTH = 24
SCHEMA = 39

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One panel. `queries` are (PromQL, legend); `width` counts grid columns of 24, `height` rows of 30 pixels."""

    title: str
    says: str
    queries: Sequence[tuple[str, str]]
    unit: str
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    low: float | None = None
    high: float | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[tuple[str, Mapping[str, Any]]] = ()
    steps: Sequence[tuple[float | None, str]] = ((None, "text"),)
    repeat: str | None = None


def dashed(colour: str) -> Mapping[str, Any]:
    """A limit: a dashed line without fill."""
    line = {"fill": "dash", "dash": [8, 6]}
    return {
        "custom.lineStyle": line,
        "custom.fillOpacity": 0,
        "color": {"mode": "fixed", "fixedColor": colour},
    }


def dashboard(
    uid: str, title: str, says: str, rows: Sequence[tuple[str, Sequence[Panel]]], variables: Sequence[Json]
) -> Json:
    """A whole dashboard: titled rows of panels, filled from left to right."""
    return {
        "uid": uid,
        "title": title,
        "description": says,
        "tags": ["trimtab"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "templating": {"list": [_source_variable(), *variables]},
        "annotations": {"list": []},
        "panels": list(_placed(rows)),
    }


def variable(name: str, query: str, *, many: bool = False) -> Json:
    """A variable filled by a query such as `label_values(metric, label)`."""
    return {
        "type": "query",
        "name": name,
        "datasource": SOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        **({"current": {"text": "All", "value": "$__all"}} if many else {}),
    }


def marks(name: str, expr: str) -> Json:
    """Marks in time over all panels: the query's value is the moment, in unix milliseconds."""
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "expr": expr,
        "iconColor": "red",
        "titleFormat": name,
        "useValueForTime": "on",
    }


def _source_variable() -> Json:
    return {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}


def _placed(rows: Iterable[tuple[str, Sequence[Panel]]]) -> Iterable[Json]:
    number, y = 0, 0
    for title, panels in rows:
        number += 1
        yield _row(number, title, y)
        y += 1
        x = tall = 0
        for panel in panels:
            if x + panel.width > GRID_WIDTH:
                x, y, tall = 0, y + tall, 0
            number += 1
            yield _panel(number, panel, x, y)
            x, tall = x + panel.width, max(tall, panel.height)
        y += tall


def _row(number: int, title: str, y: int) -> Json:
    place = {"x": 0, "y": y, "w": GRID_WIDTH, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(number: int, panel: Panel, x: int, y: int) -> Json:
    plain = panel.kind == "timeseries"
    defaults: Json = {
        "unit": panel.unit,
        "custom": {**(LINES if plain else {}), **panel.custom},
        "thresholds": {"mode": "absolute", "steps": [{"value": v, "color": c} for v, c in panel.steps]},
        "color": {"mode": "palette-classic" if plain else "thresholds"},
    }
    for name, value in (("min", panel.low), ("max", panel.high)):
        if value is not None:
            defaults[name] = value
    made: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": [_override(*item) for item in panel.overrides]},
        "options": OPTIONS.get(panel.kind, {}),
        "targets": [
            {"refId": letter, "datasource": SOURCE, "expr": expr, "legendFormat": legend, "range": True}
            for letter, (expr, legend) in zip(string.ascii_uppercase, panel.queries, strict=False)
        ],
    }
    if panel.repeat:
        made |= {"repeat": panel.repeat, "repeatDirection": "h", "maxPerRow": 2}
    return made


def _override(name: str, properties: Mapping[str, Any]) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


LINES: Json = {
    "drawStyle": "line",
    "lineWidth": 2,
    "fillOpacity": 8,
    "showPoints": "never",
    "spanNulls": False,
    "lineInterpolation": "linear",
}
OPTIONS: Mapping[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "area",
        "reduceOptions": {"calcs": ["lastNotNull"]},
        "textMode": "value_and_name",
    },
}
