"""What a dashboard of Grafana is made of, and its JSON.

board = Board("manta-training", "Manta / Training", "…", "ray_…", (RUN,), (Row("Now", (Panel(…), …)), …))
board_json(board)
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from helm.monitoring.names import Names

SHOWN = Names('namespace=~"$namespace",ray_io_cluster=~"$cluster"')
# Grafana fits it to the interval of reading and to the width of the picture.
RATE = "$__rate_interval"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
# Width and height in Grafana's grid.
_SIZES = {"stat": (4, 4), "timeseries": (8, 8), "heatmap": (8, 8)}
# Versions of its format that Grafana 10 and later read.
_SCHEMA = 39


@dataclass(frozen=True)
class Query:
    """A line of a panel, or several, told apart by their legend."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A picture of queries, and what it answers."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat", "heatmap"] = "timeseries"
    stacked: bool = False
    highest: float | None = None
    """End of the axis."""


@dataclass(frozen=True)
class Row:
    """Panels under a title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top, of values that a label has."""

    name: str
    label: str
    metric: str


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    description: str
    metric: str
    """What every cluster in question has: it says which namespaces and clusters there are."""
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


def board_json(board: Board) -> str:
    """Return the file that Grafana reads."""
    bare = board.metric.partition("{")[0]
    chosen = [
        Variable("namespace", "namespace", bare),
        Variable("cluster", "ray_io_cluster", bare + '{namespace=~"$namespace"}'),
        *board.variables,
    ]
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    made = {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["manta"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "templating": {"list": [source, *map(_variable, chosen)]},
        "links": [
            {"type": "dashboards", "tags": ["manta"], "title": "Manta", "asDropdown": True, "keepTime": True}
        ],
        "panels": list(_placed(board.rows)),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.name,
        "label": variable.name,
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # A label that is not there, as the namespace of a local Ray, matches too.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"], "selected": True},
    }


def _placed(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """Lay panels out from left to right, row by row."""
    number, top = 1, 0
    for row in rows:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "gridPos": place,
            "collapsed": False,
            "panels": [],
        }
        number, top, left, height = number + 1, top + 1, 0, 0
        for panel in row.panels:
            width, tall = _SIZES[panel.kind]
            if left + width > _COLUMNS:
                top, left, height = top + height, 0, 0
            yield {"id": number, "gridPos": {"x": left, "y": top, "w": width, "h": tall}, **_panel(panel)}
            number, left, height = number + 1, left + width, max(height, tall)
        top += height


def _panel(panel: Panel) -> dict[str, Any]:
    heat = panel.kind == "heatmap"
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0 if panel.highest is not None else None}
    defaults["max"] = panel.highest
    if panel.kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 25 if panel.stacked else 8, "showPoints": "never"}
        if panel.stacked:
            defaults["custom"]["stacking"] = {"mode": "normal", "group": "A"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {k: v for k, v in defaults.items() if v is not None}, "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "format": "heatmap" if heat else "time_series",
                "range": True,
            }
            for position, query in enumerate(panel.queries)
        ],
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": last, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
    if panel.kind == "heatmap":
        return {
            "calculate": False,
            "yAxis": {"unit": panel.unit},
            "color": {"scheme": "Oranges", "mode": "scheme"},
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
