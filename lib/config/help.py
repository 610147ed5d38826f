"""What `--help` and `--schema` print: both come from the models, so they cannot go out of date.

say(help_text(FinetuneConfig, prog="python jobs/finetune.py", description="Fine-tune …", flags={}, width=100))
say(schema_text(FinetuneConfig))
"""

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from lib.config import fields
from lib.config.fields import Model
from lib.config.wording import allowed
from lib.config.yaml_write import show

FLAGS = {
    "--dry-run": "Print the resolved configuration and the plan; start nothing.",
    "--help": "Print this text.",
    "--schema": "Print the JSON Schema of presets, for editors that complete YAML.",
}
_MAX_KEY_WIDTH = 30


def help_text(model: Model, *, prog: str, description: str, flags: Mapping[str, str], width: int) -> str:
    """Return the help of a job, wrapped to `width` columns."""
    width = max(width, 50)
    flags = {**flags, **FLAGS}
    usage = f"usage: {prog} [PRESET.yaml ...] [key=value ...] {' '.join(f'[{flag}]' for flag in flags)}"
    keys = fields.keys(model)
    column = min(max((len(key) for key in [*keys, *flags]), default=0), _MAX_KEY_WIDTH) + 4
    lines = [*_wrap(usage, width, indent=" " * 7), "", *_wrap(description, width), ""]
    lines += _wrap("Words are merged left to right; values are YAML; a later word wins.", width)
    defaults = fields.starting_values(model)
    # Keys outside any section first, then each section with its own keys.
    for section in ["", *fields.sections(model)]:
        own = {key: info for key, info in keys.items() if key.rpartition(".")[0] == section}
        if own:
            title = f"{section}: {_about(model, section)}".rstrip(": ") if section else "keys:"
            lines += ["", *_wrap(title, width)]
        for key, info in own.items():
            lines += _entry(key, info, _default(key, info, defaults), column, width)
    lines += ["", "flags:"]
    for flag, text in flags.items():
        lines += _columns(flag, [text], column, width)
    return "\n".join(lines)


def _about(model: Model, key: str) -> str:
    info = fields.sections(model)[key]
    section = fields.section_of(info.annotation)
    return _flat(info.description or (section.__doc__ if section is not None else "") or "")


def _default(key: str, info: FieldInfo, defaults: Mapping[str, Any]) -> str:
    values: Any = defaults
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            break
        values = values[part]
    else:
        return show(values)
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    return show(to_jsonable_python(value))


def _entry(key: str, info: FieldInfo, default: str, column: int, width: int) -> Iterable[str]:
    kind = allowed(fields.annotation_of(info)).removeprefix("a ").removeprefix("one of ")
    texts = [f"{kind}  ({default})"] + ([_flat(info.description)] if info.description else [])
    return _columns(key, texts, column, width)


def _columns(name: str, texts: list[str], column: int, width: int) -> list[str]:
    """Set texts, each a paragraph, to the right of a name; a long name has a line of its own."""
    indent = " " * column
    lines = [line for text in texts for line in _wrap(text, width, indent=indent, first=indent)]
    head = f"  {name}"
    return [head, *lines] if len(head) + 2 > column else [f"{head:<{column}}{lines[0][column:]}", *lines[1:]]


def _wrap(text: str, width: int, *, indent: str = "", first: str = "") -> list[str]:
    # A long choice or path is kept whole: it is there to be copied.
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first]


def _flat(text: str) -> str:
    return " ".join(text.split())


def schema_text(model: Model) -> str:
    """Return the JSON Schema (draft 2020-12) of a preset: nothing is required, as other words may follow."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(_without_required(schema), indent=2, ensure_ascii=False)


def _without_required(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_required(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # A field called "required" has a schema (a dict) there, not a list.
    return {
        key: _without_required(value)
        for key, value in schema.items()
        if not (key == "required" and isinstance(value, list))
    }
