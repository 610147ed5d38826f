"""What a configuration model looks like from outside: its sections, its dotted keys, the kinds of its values.

    keys(FinetuneConfig)["optim.lr"]        # the FieldInfo of optim.lr
    kinds(int | tuple[int, int])            # {"int", "list"}

An annotation here always carries its constraints: `field_of` puts a field's own back as `Annotated`.
"""

import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import reduce
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Model = type[BaseModel]
_LISTS = (list, tuple, set, frozenset, Sequence, AbstractSet)
_DICTS = (dict, Mapping)


def alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union, NoneType included; a plain annotation is its own only member."""
    bare = bare_of(annotation)
    if get_origin(bare) in (Union, types.UnionType):
        return [each for member in get_args(bare) for each in alternatives(member)]
    # Constraints around a plain annotation stay with it, for the wording.
    return [annotation]


def bare_of(annotation: Any) -> Any:
    """Return an annotation without `Annotated`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def metadata_of(annotation: Any) -> list[Any]:
    """Return the constraints that `Annotated` and `Field` put on an annotation."""
    found: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        for item in extra:
            found += item.metadata if isinstance(item, FieldInfo) else [item]
    return found


def is_optional(annotation: Any) -> bool:
    """Say whether null is a value."""
    return any(bare_of(each) in (type(None), Any) for each in alternatives(annotation))


def sole(annotation: Any) -> Any:
    """Return the only alternative beside null, or None when there are several."""
    others = [each for each in alternatives(annotation) if bare_of(each) is not type(None)]
    return others[0] if len(others) == 1 else None


def section_of(annotation: Any) -> Model | None:
    """Return the model behind an annotation that is a section."""
    bare = bare_of(sole(annotation))
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None


def is_table(annotation: Any) -> bool:
    """Say whether a value may be a free mapping, whose keys are not fields."""
    bare = [bare_of(each) for each in alternatives(annotation)]
    return any(each in _DICTS or get_origin(each) in _DICTS for each in bare)


def field_of(model: Model, name: str) -> Any:
    """Return the annotation of the field a user calls `name`, or None."""
    for own, info in model.model_fields.items():
        if (info.alias or own) == name:
            return annotation_of(info)
    return None


def annotation_of(info: FieldInfo) -> Any:
    """Return a field's annotation with its constraints."""
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def step(annotation: Any, part: str | int) -> Any:
    """Return the annotation one part further down (a field, a key of a table, an item), or None."""
    model = section_of(annotation)
    if model is not None:
        return field_of(model, str(part))
    for each in alternatives(annotation):
        bare = bare_of(each)
        inner = get_args(bare)
        if isinstance(part, str) and get_origin(bare) in _DICTS:
            return inner[1]
        if isinstance(part, int) and get_origin(bare) is tuple and Ellipsis not in inner:
            return inner[part] if part < len(inner) else None
        if isinstance(part, int) and get_origin(bare) in _LISTS:
            return inner[0]
    return None


def kinds(annotation: Any) -> set[str]:
    """Return the kinds of value an annotation takes: str, int, float, bool, null, list, map, any."""
    found: set[str] = set()
    for each in alternatives(annotation):
        bare = bare_of(each)
        origin = get_origin(bare) or bare
        if origin is Literal:
            found |= {type(choice).__name__ for choice in get_args(bare)}
        elif origin in _LISTS:
            found.add("list")
        elif origin in _DICTS or section_of(bare) is not None:
            found.add("map")
        elif bare is type(None):
            found.add("null")
        elif bare in (int, float, bool, str):
            found.add(bare.__name__)
        elif isinstance(bare, type) and issubclass(bare, Enum):
            found |= {type(choice.value).__name__ for choice in bare}
        else:
            found.add("str" if isinstance(bare, type) and issubclass(bare, str | PurePath) else "any")
    return found


def keys(model: Model, prefix: str = "") -> dict[str, FieldInfo]:
    """Return every dotted key of a model with its field, in the order of the fields."""
    found: dict[str, FieldInfo] = {}
    for name, info in model.model_fields.items():
        key = f"{prefix}{info.alias or name}"
        section = section_of(info.annotation)
        found |= keys(section, f"{key}.") if section is not None else {key: info}
    return found


def flat(config: BaseModel) -> dict[str, Any]:
    """Return the value of every dotted key."""
    return {key: reduce(getattr, key.split("."), config) for key in keys(type(config))}


def sections(model: Model, prefix: str = "") -> dict[str, FieldInfo]:
    """Return the dotted name of every section of a model with its field, outer before inner."""
    found: dict[str, FieldInfo] = {}
    for name, info in model.model_fields.items():
        section = section_of(info.annotation)
        if section is not None:
            key = f"{prefix}{info.alias or name}"
            found |= {key: info} | sections(section, f"{key}.")
    return found


def starting_values(model: Model) -> dict[str, Any]:
    """Return the defaults that sections bring along, so that setting one key of a section keeps the others.

    A section without a default starts empty: what it requires is then reported key by key.
    """
    values: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        section = section_of(info.annotation)
        if section is None:
            continue
        factory = info.default_factory
        if info.is_required() or (isinstance(factory, type) and issubclass(factory, BaseModel)):
            values[info.alias or name] = starting_values(section)
            continue
        default = info.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, BaseModel):
            values[info.alias or name] = default.model_dump(mode="json", by_alias=True)
    return values
