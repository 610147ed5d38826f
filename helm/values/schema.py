"""The JSON Schema of a chart's values: closed, draft 2020-12, with those of lib.config embedded as they are.

schema_of(ServeValues, [ServeConfig])
"""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from helm.values.section import REQUIRED

DRAFT = "https://json-schema.org/draft/2020-12/schema"
# Helm adds these: values for all charts, and for the library, which has none.
HELMS = {"global": {"type": "object"}, "manta-common": {"type": "object"}}


def schema_of(model: type[BaseModel], embedded: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """Return the schema of values; `embedded` are the models of lib.config in it.

    In those null means something, and nothing is required: a preset may have it.
    """
    schema = model.model_json_schema(by_alias=True)
    theirs = {name for each in embedded for name in [each.__name__, *_definitions(each)]}
    definitions = {
        name: _tidy(each, keeps_null=name in theirs) for name, each in schema.pop("$defs", {}).items()
    }
    top = _tidy(schema, keeps_null=False)
    return {"$schema": DRAFT, **top, "properties": top["properties"] | HELMS, "$defs": definitions}


def _definitions(model: type[BaseModel]) -> list[str]:
    return list(model.model_json_schema().get("$defs", {}))


def _tidy(schema: Any, *, keeps_null: bool) -> Any:
    """Close maps, settle what is required, and leave out titles, and null where it only means "not given"."""
    if isinstance(schema, list):
        return [_tidy(each, keeps_null=keeps_null) for each in schema]
    if not isinstance(schema, dict):
        return schema
    needed = schema.get(REQUIRED)
    # A field may be called "title" or "required": then it has a schema (a dict).
    tidied = {
        key: _tidy(value, keeps_null=keeps_null)
        for key, value in schema.items()
        if key != REQUIRED
        and not (key == "required" and isinstance(value, list))
        and not (key == "title" and isinstance(value, str))
    }
    if "patternProperties" in tidied:
        tidied["additionalProperties"] = False
    if needed:
        tidied["required"] = needed
    if keeps_null:
        return tidied
    if tidied.get("default", ...) is None:
        del tidied["default"]
    choices = tidied.get("anyOf", [])
    if {"type": "null"} in choices:
        choices = [each for each in choices if each != {"type": "null"}]
        del tidied["anyOf"]
        tidied |= choices[0] if len(choices) == 1 else {"anyOf": choices}
    return tidied
