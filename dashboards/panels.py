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
    text,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Every query goes to the data source that the reader picks."""
GRID_WIDTH = 24
BUILDERS: Mapping[str, Any] = {
    "timeseries": timeseries.Panel,
    "stat": stat.Panel,
    "bargauge": bargauge.Panel,
    "state-timeline": statetimeline.Panel,
    "table": table.Panel,
    "text": text.Panel,
}

Json = dict[str, Any]
Rows = Sequence[tuple[str, Sequence["Panel"]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One panel. `queries` are (PromQL, legend); `width` counts grid columns of 24, `height` rows of 30 pixels.

    `none` is shown where nothing is found, and `words` instead of values, as (text, colour).
    `diamonds` asks for exemplars, at the price of a second request.
    `lines` are options of a time series by name; `sums` turn its legend into a table of those figures by series.
    `overrides` change single series; `columns` are the labels that a table shows, as what, from left to right.
    A panel of the kind "text" has no queries: `says` is what it shows, as Markdown.
    """

    title: str
    says: str
    queries: Sequence[tuple[str, str]] = ()
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    none: str | None = None
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    diamonds: bool = False
    lines: Mapping[str, Any] = field(default_factory=dict)
    sums: Sequence[str] = ()
    overrides: Sequence[tuple[str, Mapping[str, Any]]] = ()
    steps: Sequence[tuple[float | None, str]] = ((None, "text"),)
    repeat: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


FEW: Mapping[str, Any] = {"axis_soft_max": 1}
"""For what is 0 on most days: without it Grafana draws an axis up to 100 around a line of zeros."""
STEPPED: Mapping[str, Any] = {"line_interpolation": kinds.LineInterpolation.STEP_AFTER}
STACKED: Mapping[str, Any] = {
    **STEPPED,
    "stacking": common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"),
    "fill_opacity": 60,
    "line_width": 0,
}
"""Areas without lines: that of a version without a share would lie on top of the one that answers."""
ON = {"0": (" ", "transparent"), "1": ("yes", "blue")}
"""For a state timeline of states that are 0 or 1: a bar where it is so, nothing where it is not."""


def dashed(colour: str) -> Mapping[str, Any]:
    """A limit: a dashed line without fill."""
    return {
        "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
        "custom.fillOpacity": 0,
        **fixed(colour),
    }


def worded(words: Mapping[str, tuple[str, str]]) -> Any:
    """Values shown as words, as (text, colour)."""
    return models.ValueMap(options={value: models.ValueMappingResult(*shown) for value, shown in words.items()})


def coloured(steps: Sequence[tuple[float | None, str]]) -> Any:
    """Colours from a value on upwards; None stands for the lowest of all."""
    made = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    return made.steps([models.Threshold(value=value, color=colour) for value, colour in steps])


def fixed(colour: str) -> Mapping[str, Any]:
    """A colour of its own for one series."""
    return {"color": {"mode": "fixed", "fixedColor": colour}}


def variable(
    name: str, label: str, query: str, *, many: bool = False, all_value: str | None = None, begins: str | None = None
) -> Any:
    """A variable filled by a query such as `label_values(metric, label)`; it begins with `begins`.

    With `all_value` or `many` it begins with all.
    """
    made = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query({"query": query, "refId": name})
    made = made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    made = made.multi(many).include_all(many or all_value is not None)
    if all_value is not None:
        made = made.all_value(all_value)
    if many or all_value is not None:
        made = made.current(models.VariableOption(selected=True, text="All", value="$__all"))
    elif begins is not None:
        made = made.current(models.VariableOption(selected=True, text=begins, value=begins))
    return made


def source() -> Any:
    """The data source as a variable."""
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def typed(name: str, label: str, default: str) -> Any:
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
    """Each panel as high and then as far left as it fits: a low one fills the room under its low neighbour."""
    number, y = 0, 0
    for title, panels in rows:
        number += 1
        yield _plain(dashboard.Row(title).id(number).grid_pos(models.GridPos(h=1, w=GRID_WIDTH, x=0, y=y)).build())
        floor = [y + 1] * GRID_WIDTH
        for panel in panels:
            number += 1
            top, x = min((max(floor[x : x + panel.width]), x) for x in range(GRID_WIDTH - panel.width + 1))
            yield _panel(number, panel, x, top)
            floor[x : x + panel.width] = [top + panel.height] * panel.width
        y = max(floor)


def _panel(number: int, panel: Panel, x: int, y: int) -> Json:
    made = BUILDERS[panel.kind]().id(number).title(panel.title)
    made = made.grid_pos(models.GridPos(h=panel.height, w=panel.width, x=x, y=y))
    if panel.kind == "text":
        return _plain(made.content(panel.says).mode(TextMode.MARKDOWN).build())
    made = made.description(panel.says).datasource(SOURCE).unit(panel.unit)
    made = made.thresholds(coloured(panel.steps))
    palette = models.FieldColorModeId.PALETTE_CLASSIC
    mode = palette if panel.kind == "timeseries" else models.FieldColorModeId.THRESHOLDS
    made = made.color_scheme(dashboard.FieldColor().mode(mode))
    for name in ("low", "high", "decimals", "none"):
        if (value := getattr(panel, name)) is not None:
            made = getattr(made, OWN_NAMES.get(name, name))(value)
    if panel.words:
        made = made.mappings([worded(panel.words)])
    made = LOOKS[panel.kind](made, panel)
    for name, properties in panel.overrides:
        made = made.override_by_name(name, [models.DynamicConfigValue(key, value) for key, value in properties.items()])
    if panel.repeat:
        made = made.repeat(panel.repeat).repeat_direction("h").max_per_row(2)
    for letter, (expr, legend) in zip(string.ascii_uppercase, panel.queries, strict=False):
        made = made.with_target(_query(panel, letter, expr, legend))
    return _plain(made.build())


def _query(panel: Panel, letter: str, expr: str, legend: str) -> Any:
    made = prometheus.Dataquery().ref_id(letter).datasource(SOURCE).expr(expr).legend_format(legend)
    if panel.kind == "table":
        return made.instant().format(PromQueryFormat.TABLE)
    if panel.kind in NOW:
        return made.instant()
    return made.range().exemplar(panel.diamonds)


def _timeseries(made: Any, panel: Panel) -> Any:
    legend = common.VizLegendOptions().show_legend(True)
    if panel.sums:
        legend = legend.display_mode(kinds.LegendDisplayMode.TABLE).placement(kinds.LegendPlacement.RIGHT)
        legend = legend.calcs(list(panel.sums)).sort_by(LEGEND_NAMES[panel.sums[0]]).sort_desc(True)
    else:
        legend = legend.display_mode(kinds.LegendDisplayMode.LIST).placement(kinds.LegendPlacement.BOTTOM)
    made = made.legend(legend).tooltip(
        common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    )
    if len(panel.steps) > 1:
        made = made.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED))
    for name, value in {**LINES, **panel.lines}.items():
        made = getattr(made, name)(value)
    return made


def _stat(made: Any, panel: Panel) -> Any:
    """A name is shown where it says which; a state is its name alone."""
    made = made.color_mode(kinds.BigValueColorMode.VALUE).graph_mode(kinds.BigValueGraphMode.NONE)
    if any(expr.endswith("== 1") for expr, _ in panel.queries):
        shown = kinds.BigValueTextMode.NAME
    elif len(panel.queries) > 1 or "{{" in panel.queries[0][1]:
        shown = kinds.BigValueTextMode.VALUE_AND_NAME
    else:
        shown = kinds.BigValueTextMode.VALUE
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).text_mode(shown)


def _bargauge(made: Any, _: Panel) -> Any:
    made = made.orientation(kinds.VizOrientation.HORIZONTAL).display_mode(kinds.BarGaugeDisplayMode.BASIC)
    made = made.name_placement(kinds.BarGaugeNamePlacement.LEFT).text(common.VizTextDisplayOptions().value_size(14))
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _timeline(made: Any, _: Panel) -> Any:
    """Names stand beside the bars: values inside them and a legend would only repeat 0 and 1."""
    legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST)
    made = made.legend(legend.placement(kinds.LegendPlacement.BOTTOM).show_legend(False))
    made = made.tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.SINGLE).sort(kinds.SortOrder.NONE))
    return made.show_value(kinds.VisibilityMode.NEVER).merge_values(True).row_height(0.8).fill_opacity(80)


def _table(made: Any, panel: Panel) -> Any:
    """Only the named columns: the others of an instant query are its time, and its value where none is asked for."""
    hidden = {name: True for name in ("Time", "Value") if name not in panel.columns}
    order = {name: number for number, name in enumerate(panel.columns)}
    options = {"excludeByName": hidden, "indexByName": order, "renameByName": dict(panel.columns)}
    return made.with_transformation(models.DataTransformerConfig(id_val="organize", options=options))


NOW = ("stat", "bargauge")
"""Kinds that ask for this moment alone: over a range, the last value of what is over would be shown as if it held."""
OWN_NAMES: Mapping[str, str] = {"low": "min", "high": "max", "none": "no_value"}
"""What grafana-foundation-sdk calls them."""
LEGEND_NAMES: Mapping[str, str] = {"lastNotNull": "Last *", "max": "Max"}
"""What Grafana calls the columns of a legend."""
LINES: Mapping[str, Any] = {
    "draw_style": kinds.GraphDrawStyle.LINE,
    "line_width": 2,
    "fill_opacity": 8,
    "show_points": kinds.VisibilityMode.NEVER,
    "span_nulls": False,
}
LOOKS: Mapping[str, Any] = {
    "timeseries": _timeseries,
    "stat": _stat,
    "bargauge": _bargauge,
    "state-timeline": _timeline,
    "table": _table,
}
