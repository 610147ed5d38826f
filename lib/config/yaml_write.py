"""A resolved configuration as YAML, in the order of its fields.

    Path("config.yaml").write_text(to_yaml(config))
    load(FinetuneConfig, ["config.yaml"]).config == config

Text that a YAML 1.1 reader takes for something else (`yes`, `007`, `1:30`, a date) is quoted, so that any
reader gets the same values.
"""

from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from yaml.nodes import MappingNode, ScalarNode, SequenceNode
from yaml.resolver import Resolver

from lib.config.yaml_read import STR, tag_of


class _Dumper(yaml.SafeDumper):
    """PyYAML's writer with Manta's scalars, short lists on one line and no aliases."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Give an unquoted scalar the tag that the reader will give it."""
        if kind is ScalarNode and implicit[0]:
            return tag_of(value)
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # PyYAML has no types

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- PyYAML calls it so
        """Write an object that occurs twice in full."""
        return True


class _OneLine(_Dumper):
    """The same, with every list and mapping on one line."""

    # PyYAML passes the style it would choose; it is not asked.
    def represent_sequence(
        self,
        tag: str,
        sequence: Any,
        flow_style: bool | None = None,  # noqa: ARG002 -- see above
    ) -> SequenceNode:
        """Write `[a, b]`."""
        return super().represent_sequence(tag, sequence, True)

    def represent_mapping(
        self,
        tag: str,
        mapping: Any,
        flow_style: bool | None = None,  # noqa: ARG002 -- see above
    ) -> MappingNode:
        """Write `{a: b}`."""
        return super().represent_mapping(tag, mapping, True)


_OLD = Resolver()


def _text(dumper: _Dumper, text: str) -> ScalarNode:
    tag = _OLD.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # as above
    if text.isprintable():
        return dumper.represent_scalar(STR, text, style=None if tag == STR else "'")
    return dumper.represent_scalar(STR, text, style='"')


def _items(dumper: _Dumper, items: list[Any]) -> SequenceNode:
    short = not any(isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _items)


def to_yaml(config: BaseModel) -> str:
    """Return every key of a configuration, defaults included, as YAML text."""
    # Not mode="json", which writes null for infinity.
    return dump(to_jsonable_python(config.model_dump(by_alias=True)))


def dump(values: object) -> str:
    """Return plain values (dict, list, scalars) as YAML text."""
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    assert isinstance(text, str)
    return text


def show(value: object, limit: int = 60) -> str:
    """Return a value on one line as it would be typed after `key=`, shortened to `limit` characters."""
    if value is None:
        return "null"
    if isinstance(value, str) and value.isprintable() and tag_of(value) == STR:
        return _short(value, limit)
    text = yaml.dump(value, Dumper=_OneLine, sort_keys=False, allow_unicode=True, width=2**30)
    line = text.removesuffix("\n").removesuffix("\n...")
    return _short(line, limit)


def _short(line: str, limit: int) -> str:
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
