"""Renders a dashboard as Grafana's JSON; the only file that imports Grafana's SDK. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import common as looks
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.dashboards.model import COLUMNS, RUNBOOKS, Color, Kind, Unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitoring.dashboards.model import Dashboard, Panel, Query

TAG = "chatcluster"
"""By which the dashboards find each other."""

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

HIDDEN_COLUMNS = (
    "Time",
    "__name__",
    "component",
    "container",
    "endpoint",
    "instance",
    "job",
    "name",
    "pod",
    "prometheus",
    "status",
)
"""Labels that say nothing in a table of chats: most are of the part that was scraped."""

COLUMN_ORDER = ("namespace", "chatcluster", "type", "reason")
"""Of a table; its values follow."""

CHATS = '{__name__=~"chatserver_connections|chatcluster_ready", chatcluster!=""}'
"""A chat is found as long as either the operator or its servers are scraped."""

_REACHES = {Unit.COUNT: 1, Unit.PER_SECOND: 1, Unit.REQUESTS_PER_SECOND: 1}
"""Up to where an axis goes at least: Grafana draws one to 100 where all values are 0."""

FIRING = 'ALERTS{alertstate="firing", alertname=~"Chat.+", chatcluster=~"$chatcluster|"}'
"""Alerts of the chosen chats, and of the operator, which have no chat."""


def render(made: Dashboard) -> str:
    """A dashboard as Grafana's JSON; the same text for the same dashboard."""
    board = (
        build.Dashboard(made.title)
        .uid(made.uid)
        .description(made.description)
        .tags([TAG])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .annotation(_alerts())
    )
    for link in _links():
        board.link(link)
    for variable in _variables():
        board.with_variable(variable)
    document = json.loads(JSONEncoder().encode(board.build()))
    document["panels"] = list(_panels(made))
    # The SDK does not know the title of a mark.
    document["annotations"]["list"][0] |= {
        "titleFormat": "{{alertname}}",
        "textFormat": "{{namespace}}/{{chatcluster}}",
    }
    for variable in document["templating"]["list"]:
        # Of interval variables alone, which these are not.
        for name in ("auto", "auto_min", "auto_count"):
            variable.pop(name, None)
    return json.dumps(_without_nulls(document), indent=2, ensure_ascii=False) + "\n"


def _panels(made: Dashboard) -> Iterator[dict[str, Any]]:
    """Rows and panels with their places in the grid and their ids."""
    number, y = 0, 0
    for row in made.rows:
        number += 1
        head = build.Row(row.title).id(number).grid_pos(dashboard.GridPos(h=1, w=COLUMNS, x=0, y=y)).build()
        yield json.loads(JSONEncoder().encode(head))
        y, x, height = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                y, x, height = y + height, 0, 0
            number += 1
            drawn: dict[str, Any] = json.loads(JSONEncoder().encode(_panel(panel, number, x, y)))
            # Tables have none any more since Grafana 12.
            drawn["options"].pop("footer", None)
            yield drawn
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _panel(panel: Panel, number: int, x: int, y: int) -> dashboard.Panel:
    made: timeseries.Panel | stat.Panel | table.Panel
    match panel.kind:
        case Kind.TIMESERIES:
            made = _timeseries(panel)
        case Kind.STAT:
            made = _stat(panel)
        case Kind.TABLE:
            made = _table(panel)
    made.id(number).title(panel.title).description(panel.description).datasource(SOURCE)
    made.grid_pos(dashboard.GridPos(h=panel.height, w=panel.width, x=x, y=y)).unit(panel.unit)
    made.thresholds(_thresholds(panel)).mappings(_mappings(panel)).links([_runbook(alert) for alert in panel.alerts])
    if panel.decimals is not None:
        made.decimals(panel.decimals)
    if panel.empty:
        made.no_value(panel.empty)
    for index, query in enumerate(panel.queries):
        made.with_target(_target(panel, query, index))
    return made.build()


def _target(panel: Panel, query: Query, index: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expression).ref_id(chr(ord("A") + index)).legend_format(query.legend)
    if panel.kind is Kind.TIMESERIES:
        return target.range().format(PromQueryFormat.TIME_SERIES)
    return target.instant().format(PromQueryFormat.TABLE if panel.kind is Kind.TABLE else PromQueryFormat.TIME_SERIES)


def _timeseries(panel: Panel) -> timeseries.Panel:
    legend = (
        looks.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    made = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(looks.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        # On top of a stack, the line of a series that is 0 would colour the edge of the others.
        .line_width(0 if panel.stacked else 1)
        .fill_opacity(60 if panel.stacked else 0 if panel.logarithmic else 8)
        .show_points(common.VisibilityMode.NEVER)
        # A pod that is gone leaves a gap, not a line to the next value.
        .span_nulls(False)
        .stacking(
            looks.StackingConfig().mode(common.StackingMode.NORMAL if panel.stacked else common.StackingMode.NONE)
        )
    )
    if panel.thresholds:
        style = common.GraphThresholdsStyleMode.DASHED
        made.thresholds_style(looks.GraphThresholdsStyleConfig().mode(style))
    if panel.logarithmic:
        made.scale_distribution(looks.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10))
    elif not panel.falling:
        made.min(0)
    if panel.maximum is not None:
        made.max(panel.maximum)
    reaches = panel.reaches if panel.reaches is not None else _REACHES.get(panel.unit)
    if reaches is not None:
        made.axis_soft_max(reaches)
    for series, color in panel.colors.items():
        fixed = {"mode": "fixed", "fixedColor": str(color)}
        made.override_by_name(series, [dashboard.DynamicConfigValue(id_val="color", value=fixed)])
    return made


def _stat(panel: Panel) -> stat.Panel:
    reduced = looks.ReduceDataOptions().values(False).calcs(["lastNotNull"]).fields("")
    limited = bool(panel.thresholds or panel.values)
    return (
        stat.Panel()
        .reduce_options(reduced)
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.BACKGROUND if limited else common.BigValueColorMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
        .justify_mode(common.BigValueJustifyMode.AUTO)
        .orientation(common.VizOrientation.AUTO)
    )


def _table(panel: Panel) -> table.Panel:
    """One row for each set of labels, one column for each query."""
    names = {f"Value #{chr(ord('A') + index)}": query.legend for index, query in enumerate(panel.queries)}
    names |= {"Value": panel.queries[0].legend}
    organize = {
        "excludeByName": dict.fromkeys(HIDDEN_COLUMNS, True),
        "indexByName": {name: place for place, name in enumerate((*COLUMN_ORDER, *names))},
        "renameByName": names,
    }
    made = (
        table.Panel()
        .cell_height(common.TableCellHeight.SM)
        .show_header(True)
        .with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organize))
    )
    for column, unit in panel.units.items():
        made.override_by_name(column, [dashboard.DynamicConfigValue(id_val="unit", value=str(unit))])
    return made


def _thresholds(panel: Panel) -> build.ThresholdsConfig:
    colors = [threshold.color for threshold in panel.thresholds]
    values: list[float | None] = [None, *(threshold.value for threshold in panel.thresholds)]
    # A falling value is in the colour of a threshold as long as it is below it.
    ordered = [*colors, Color.GOOD] if panel.falling else [Color.GOOD, *colors]
    steps = [dashboard.Threshold(value, str(color)) for value, color in zip(values, ordered, strict=True)]
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _mappings(panel: Panel) -> list[dashboard.ValueMapping]:
    options = {
        str(value): dashboard.ValueMappingResult(text=text, color=str(color), index=index)
        for index, (value, (text, color)) in enumerate(panel.values.items())
    }
    return [dashboard.ValueMap(options)] if options else []


def _runbook(alert: str) -> build.DashboardLink:
    url = f"${{runbooks}}{alert}.md"
    link = dashboard.DashboardLinkType.LINK
    return build.DashboardLink(f"Runbook: {alert}").type(link).url(url).target_blank(True)


def _links() -> tuple[build.DashboardLink, ...]:
    others = build.DashboardLink("ChatCluster").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    runbooks = build.DashboardLink("Runbooks").type(dashboard.DashboardLinkType.LINK).url("${runbooks}README.md")
    return (
        others.as_dropdown(False).include_vars(True).keep_time(True),
        runbooks.icon("doc").tooltip("What each alert means, and what to do").target_blank(True),
    )


def _alerts() -> build.AnnotationQuery:
    query = build.AnnotationQuery().name("Alerts").datasource(SOURCE).enable(True).icon_color(str(Color.BAD))
    return query.expr(FIRING)


def _variables() -> Iterator[build.DatasourceVariable | build.QueryVariable | build.ConstantVariable]:
    yield build.DatasourceVariable("datasource").label("Data source").type("prometheus")
    for name, label, query in (
        ("namespace", "Namespace", f"label_values({CHATS}, namespace)"),
        ("chatcluster", "ChatCluster", f'label_values({CHATS[:-1]}, namespace=~"$namespace"}}, chatcluster)'),
    ):
        # Not the list of all, which is a long expression where there are a thousand chats.
        chosen = (
            build.QueryVariable(name).label(label).query(query).datasource(SOURCE).include_all(True).all_value(".+")
        )
        every = dashboard.VariableOption(selected=True, text="All", value="$__all")
        yield (
            chosen.multi(True)
            .current(every)
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        )
    yield build.ConstantVariable("runbooks").value(RUNBOOKS)


def _without_nulls(value: Any, key: str = "") -> Any:
    """Without what is not set, which Grafana's schema does not allow to be null; but for the lowest threshold."""
    if isinstance(value, dict):
        return {
            name: _without_nulls(item, name)
            for name, item in value.items()
            if item is not None or (name == "value" and key == "steps")
        }
    if isinstance(value, list):
        return [_without_nulls(item, key) for item in value]
    return value
