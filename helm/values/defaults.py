"""values.yaml of a chart: the defaults of its model, each under its description.

text = values_yaml(ClusterValues)
"""

import textwrap
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from helm.values.section import Values

_WIDTH = 110


def values_yaml(model: type[Values], chart: str) -> str:
    """Return the text of values.yaml."""
    head = [f"# Values of {chart}, written by helm/generate.py. All keys: docs/values.md.", ""]
    return "\n".join([*head, *_section(model(), ""), ""])


def _section(values: BaseModel, indent: str) -> Iterator[str]:
    optional = []
    for number, (name, field) in enumerate(type(values).model_fields.items()):
        value, key = getattr(values, name), field.alias or name
        if value is None:
            optional.append(key)
            continue
        about = field.description or (value.__doc__ if isinstance(value, BaseModel) else None)
        if not indent and number:
            yield ""
        yield from _comment(about or "", indent)
        if isinstance(value, Values):
            yield f"{indent}{key}:"
            yield from _section(value, indent + "  ")
        else:
            yield from textwrap.indent(_dump({key: value}), indent).splitlines()
    if optional:
        yield from _comment(f"Also: {', '.join(optional)}.", indent)


def _comment(text: str, indent: str) -> Iterator[str]:
    yield from textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )


def _dump(value: dict[str, Any]) -> str:
    """Dump as YAML what was set; defaults of what stands in maps and lists are the template's."""
    plain = to_jsonable_python(value, by_alias=True, exclude_none=True)
    for key, given in value.items():
        if isinstance(given, BaseModel):
            plain[key] = given.model_dump(mode="json", by_alias=True, exclude_unset=True)
        elif isinstance(given, dict) and any(isinstance(each, BaseModel) for each in given.values()):
            plain[key] = {
                name: each.model_dump(mode="json", by_alias=True, exclude_unset=True)
                for name, each in given.items()
            }
        elif isinstance(given, list) and any(isinstance(each, BaseModel) for each in given):
            plain[key] = [each.model_dump(mode="json", by_alias=True, exclude_unset=True) for each in given]
    return yaml.safe_dump(plain, sort_keys=False, width=_WIDTH)
