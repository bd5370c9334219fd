"""The few shapes that the dashboards are made of (pure).

Lives here: panels, variables, marks and links, built with grafana-foundation-sdk; ids, refIds and places on the grid.
Comes in: titles, queries, units. Goes out: dicts as Grafana 11 and later import them.
Must never know: which metrics exist.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Every query goes to the data source that the reader picks."""
GRID_WIDTH = 24
BUILDERS: Mapping[str, Any] = {
    "timeseries": timeseries.Panel,
    "stat": stat.Panel,
    "bargauge": bargauge.Panel,
    "state-timeline": statetimeline.Panel,
    "table": table.Panel,
}

Json = dict[str, Any]
Rows = Sequence[tuple[str, Sequence["Panel"]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One panel. `queries` are (PromQL, legend); `width` counts grid columns of 24, `height` rows of 30 pixels.

    `lines` are options of a time series by name; `overrides` change single series; `hidden` are columns of a table.
    """

    title: str
    says: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    low: float | None = None
    high: float | None = None
    lines: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[tuple[str, Mapping[str, Any]]] = ()
    steps: Sequence[tuple[float | None, str]] = ((None, "text"),)
    repeat: str | None = None
    hidden: Sequence[str] = ()


STEPPED: Mapping[str, Any] = {"line_interpolation": kinds.LineInterpolation.STEP_AFTER}
STACKED: Mapping[str, Any] = {
    **STEPPED,
    "stacking": common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"),
    "fill_opacity": 40,
}


def dashed(colour: str) -> Mapping[str, Any]:
    """A limit: a dashed line without fill."""
    return {
        "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
        "custom.fillOpacity": 0,
        "color": {"mode": "fixed", "fixedColor": colour},
    }


def variable(name: str, label: str, query: str, *, many: bool = False, all_value: str | None = None) -> Any:
    """A variable filled by a query such as `label_values(metric, label)`; with `all_value` it begins with all."""
    made = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query({"query": query, "refId": name})
    made = made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    made = made.multi(many).include_all(many or all_value is not None)
    if all_value is not None:
        made = made.all_value(all_value)
    if many or all_value is not None:
        made = made.current(models.VariableOption(selected=True, text="All", value="$__all"))
    return made


def source() -> Any:
    """The data source as a variable."""
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def text(name: str, label: str, default: str) -> Any:
    """A variable that the reader types in; links use it."""
    return dashboard.TextBoxVariable(name).label(label).default_value(default)


def marks(name: str, colour: str, expr: str) -> Json:
    """Marks in time over all panels: the query's value is the moment, in unix milliseconds."""
    made = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).expr(expr).icon_color(colour)
    return _plain(made.build()) | {"titleFormat": name, "useValueForTime": "on"}  # the builder does not know these two


def board(uid: str, title: str, says: str, rows: Rows, variables: Sequence[Any], links: Sequence[Any]) -> Json:
    """A whole dashboard but for its marks: titled rows of panels, filled from left to right."""
    made = dashboard.Dashboard(title).uid(uid).description(says).tags(["trimtab"]).refresh("30s").time("now-3h", "now")
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR).variables(list(variables)).links(list(links))
    document = _plain(made.build())
    document["panels"] = list(_placed(rows))
    return document


def link(title: str, url: str) -> Any:
    """A link at the top of a dashboard."""
    return dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).target_blank(True)


def siblings() -> Any:
    """Links to every dashboard with our tag, with time and variables kept."""
    made = dashboard.DashboardLink("Trimtab").type(models.DashboardLinkType.DASHBOARDS).tags(["trimtab"])
    return made.include_vars(True).keep_time(True)


def _plain(built: object) -> Json:
    document: Json = json.loads(JSONEncoder().encode(built))
    return document


def _placed(rows: Rows) -> Iterator[Json]:
    number, y = 0, 0
    for title, panels in rows:
        number += 1
        yield _plain(dashboard.Row(title).id(number).grid_pos(models.GridPos(h=1, w=GRID_WIDTH, x=0, y=y)).build())
        y += 1
        x = tall = 0
        for panel in panels:
            if x + panel.width > GRID_WIDTH:
                x, y, tall = 0, y + tall, 0
            number += 1
            yield _panel(number, panel, x, y)
            x, tall = x + panel.width, max(tall, panel.height)
        y += tall


def _panel(number: int, panel: Panel, x: int, y: int) -> Json:
    made = BUILDERS[panel.kind]().id(number).title(panel.title).description(panel.says).datasource(SOURCE)
    made = made.unit(panel.unit).grid_pos(models.GridPos(h=panel.height, w=panel.width, x=x, y=y))
    steps = [models.Threshold(value=value, color=colour) for value, colour in panel.steps]
    made = made.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    palette = models.FieldColorModeId.PALETTE_CLASSIC
    mode = palette if panel.kind in ("timeseries", "state-timeline") else models.FieldColorModeId.THRESHOLDS
    made = made.color_scheme(dashboard.FieldColor().mode(mode))
    if panel.low is not None:
        made = made.min(panel.low)
    if panel.high is not None:
        made = made.max(panel.high)
    made = LOOKS.get(panel.kind, lambda made, _: made)(made, panel)
    for name, properties in panel.overrides:
        made = made.override_by_name(name, [models.DynamicConfigValue(key, value) for key, value in properties.items()])
    if panel.repeat:
        made = made.repeat(panel.repeat).repeat_direction("h").max_per_row(2)
    for letter, (expr, legend) in zip(string.ascii_uppercase, panel.queries, strict=False):
        made = made.with_target(_query(panel.kind, letter, expr, legend))
    return _plain(made.build())


def _query(kind: str, letter: str, expr: str, legend: str) -> Any:
    made = prometheus.Dataquery().ref_id(letter).datasource(SOURCE).expr(expr).legend_format(legend)
    if kind == "table":
        return made.instant().format(PromQueryFormat.TABLE)
    return made.instant() if kind == "bargauge" else made.range().exemplar(True)


def _timeseries(made: Any, panel: Panel) -> Any:
    legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST)
    made = made.legend(legend.placement(kinds.LegendPlacement.BOTTOM).show_legend(True))
    made = made.tooltip(
        common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    )
    for name, value in {**LINES, **panel.lines}.items():
        made = getattr(made, name)(value)
    return made


def _stat(made: Any, _: Panel) -> Any:
    made = made.color_mode(kinds.BigValueColorMode.VALUE).graph_mode(kinds.BigValueGraphMode.AREA)
    reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
    return made.reduce_options(reduce).text_mode(kinds.BigValueTextMode.VALUE_AND_NAME)


def _bargauge(made: Any, _: Panel) -> Any:
    made = made.orientation(kinds.VizOrientation.HORIZONTAL).display_mode(kinds.BarGaugeDisplayMode.BASIC)
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _table(made: Any, panel: Panel) -> Any:
    options = {"excludeByName": dict.fromkeys(panel.hidden, True), "indexByName": {}, "renameByName": {}}
    return made.with_transformation(models.DataTransformerConfig(id_val="organize", options=options))


LINES: Mapping[str, Any] = {
    "draw_style": kinds.GraphDrawStyle.LINE,
    "line_width": 2,
    "fill_opacity": 8,
    "show_points": kinds.VisibilityMode.NEVER,
    "span_nulls": False,
}
LOOKS: Mapping[str, Any] = {"timeseries": _timeseries, "stat": _stat, "bargauge": _bargauge, "table": _table}
