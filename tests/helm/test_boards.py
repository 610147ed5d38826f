"""Dashboards: every query is one, asks for what is written, and every panel says what it answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from helm.monitoring.files import boards, rules
from helm.monitoring.names import TABLES, Names
from helm.monitoring.panel import Board, Panel
from helm.monitoring.rays import RAYS
from helm.monitoring.rule import Record
from tests.helm.charts import HELM, Object
from tests.helm.test_alerts import promtool
from tests.prometheus import needs_prometheus

BOARDS = boards()
RECORDS = {
    rule.name
    for groups in rules().values()
    for group in groups.values()
    for rule in group
    if isinstance(rule, Record)
}
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count")}


def panels(board: Board) -> Iterator[Panel]:
    for row in board.rows:
        yield from row.panels


def queries() -> list[str]:
    return [query.expr for board in BOARDS.values() for panel in panels(board) for query in panel.queries]


def all_queries() -> list[str]:
    groups = [group for each in rules().values() for group in each.values()]
    return queries() + [rule.expr for group in groups for rule in group]


def asked(query: str) -> set[str]:
    """The metrics of a query."""
    return set(re.findall(r"(?<![\w:])(?:ray_(?!io_)\w+|manta:\w+:\w+|manta_\w+)", query))


def test_queries_ask_for_nothing_that_is_not_written() -> None:
    written = {f"ray_manta_{name}{end}" for name, metric in TABLES.items() for end in ENDINGS[metric.kind]}
    written |= set(RAYS) | RECORDS | {"manta_job_success"}
    for query in all_queries():
        assert asked(query) or query.startswith("up{")
        assert asked(query) - written == set()


def test_every_metric_and_every_name_of_rays_is_asked_for() -> None:
    found = {name for query in all_queries() for name in asked(query)}
    for name, metric in TABLES.items():
        assert {f"ray_manta_{name}{end}" for end in ENDINGS[metric.kind]} & found, name
    assert set(RAYS) <= found


@needs_prometheus
def test_queries_are_valid(tmp_path: Path) -> None:
    made = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries())
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": made}]}))
    promtool("check", "rules", str(path))


def shown(name: str) -> Object:
    board: Object = json.loads((HELM / f"manta-monitoring/files/dashboards/{name}.json").read_text())
    return board


@pytest.mark.parametrize("name", BOARDS)
def test_panels_say_what_they_answer_and_do_not_overlap(name: str) -> None:
    board = shown(name)
    assert board["uid"] == f"manta-{name}"
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells
        assert max(x for x, _ in own) < 24
        cells |= own
        if panel["type"] != "row":
            assert panel["description"].endswith((".", "?")), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["legendFormat"] for target in panel["targets"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("name", BOARDS)
def test_choices_match_what_has_no_such_label(name: str) -> None:
    chosen = {each["name"]: each for each in shown(name)["templating"]["list"]}
    assert {"datasource", "namespace", "cluster"} <= set(chosen)
    for variable in [each for key, each in chosen.items() if key != "datasource"]:
        assert variable["includeAll"]
        assert variable["allValue"] == ".*"
    used = {
        word
        for panel in panels(BOARDS[name])
        for q in panel.queries
        for word in re.findall(r"\$(\w+)", q.expr)
    }
    assert used - {"__rate_interval"} <= set(chosen)


def test_a_name_that_is_in_no_table_is_refused() -> None:
    names = Names('namespace="x"')
    assert names.total("requests", 'code="200"') == 'ray_manta_requests_total{namespace="x",code="200"}'
    with pytest.raises(KeyError):
        names.gauge("request")
    with pytest.raises(AssertionError, match="requests is a counter"):
        names.gauge("requests")
    with pytest.raises(AssertionError, match="status="):
        names.total("requests", 'status="200"')
    with pytest.raises(AssertionError, match="ray_nothing"):
        names.ray("ray_nothing")
