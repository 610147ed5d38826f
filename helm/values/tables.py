"""docs/values.md: a table of the keys of each chart, read from its schema.

text = values_page({"manta-cluster": schema, …})
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from helm.values.schema import HELMS

_HEAD = """# Values of the charts

Written by `python -m helm.generate` from `helm/values/` and `lib/config/`. A key in angle brackets is a name
of your own; `[]` is an item of a list. The words of jobs and of the endpoint are shown by `--help` of
`python jobs/NAME.py` and `python -m serving`.
"""
# Shown by the help of the command that takes them.
_WORDS = ("ServeConfig", "Work")


def values_page(schemas: Mapping[str, dict[str, Any]]) -> str:
    """Return the page: what several charts have in common once, then each chart."""
    rows = {chart: list(map(_line, _rows(schema, schema, ""))) for chart, schema in schemas.items()}
    many = [chart for chart, schema in schemas.items() if "rayVersion" in schema["properties"]]
    shared = [line for line in rows[many[0]] if all(line in rows[chart] for chart in many)]
    page = [_HEAD, *_section(f"Common to {', '.join(many)}", "What a Ray cluster is made of.", shared)]
    for chart, schema in schemas.items():
        own = [line for line in rows[chart] if chart not in many or line not in shared]
        page += _section(chart, schema["description"], own)
    return "\n".join(page)


def _section(title: str, about: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", about, "", "| key | type | default | |", "|---|---|---|---|", *lines, ""]


def _line(row: tuple[str, dict[str, Any]]) -> str:
    key, field = row
    default = json.dumps(field["default"], ensure_ascii=False) if "default" in field else ""
    cells = [f"`{key}`", _kind(field), f"`{default}`" if default else "", field.get("description", "")]
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _rows(field: dict[str, Any], root: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, each in field.get("properties", {}).items():
        if not prefix and key in HELMS:
            continue
        full = f"{prefix}{key}"
        inner = _resolve(each, root)
        if any(each.get("$ref", "").endswith(f"/{name}") for name in _WORDS):
            yield full, {"type": "words", "description": inner["description"]}
        elif "properties" in inner:
            yield from _rows(inner, root, f"{full}.")
        elif _item(inner) is not None and "properties" in _resolve(_item(inner) or {}, root):
            yield full, inner
            mark = "[]" if "items" in inner else ".<name>"
            yield from _rows(_resolve(_item(inner) or {}, root), root, f"{full}{mark}.")
        else:
            yield full, inner


def _item(field: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of the items of a list or of the values of a map."""
    if "items" in field:
        return dict(field["items"])
    return next((dict(each) for each in field.get("patternProperties", {}).values()), None)


def _resolve(field: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in field:
        return field
    target: dict[str, Any] = root["$defs"][field["$ref"].rpartition("/")[2]]
    return target | {key: value for key, value in field.items() if key not in ("$ref", "default")}


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "anyOf" in field:
        return " or ".join(_kind(each) for each in field["anyOf"])
    kind = str(field.get("type", "map"))
    return {"object": "map", "array": "list", "string": "text", "boolean": "true or false"}.get(kind, kind)
