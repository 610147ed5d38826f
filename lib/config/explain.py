"""pydantic's findings as lines a user can act on: what was given, what is allowed, what was meant.

explain(error, FinetuneConfig, values, origins)
# ["optim.lr=-1: must be a number greater than 0", "data.root: required; for example data.root=runs/digits"]
"""

import difflib
from collections.abc import Collection, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from lib.config import fields
from lib.config.fields import Model
from lib.config.wording import allowed, choices, did_you_mean
from lib.config.yaml_write import show

# Errors that a validator of our own raised: their sentence is the line.
_STANDARD = frozenset(get_args(ErrorType)) - {"value_error", "assertion_error"}
_ABSENT = object()


def explain(
    error: ValidationError,
    model: Model,
    values: Mapping[str, Any],
    origins: Mapping[tuple[str, ...], str],
    meant: Collection[str] = (),
) -> list[str]:
    """Return one line for each key that is wrong (a union has one line, whatever its members say).

    A missing key among `meant` is left out: another line already says that it was misspelt.
    """
    lines: dict[str, str] = {}
    for detail in sorted(error.errors(include_url=False), key=lambda each: each["type"] in _STANDARD):
        path, annotation, rest = _locate(model, detail["loc"])
        key = ".".join(map(str, path))
        if detail["type"] == "extra_forbidden" and rest:
            section = fields.section_of(annotation)
            known = list(fields.keys(section)) if section is not None else []
            lines[f"{key}.{rest[0]}"] = f"{key}.{rest[0]}: no such key{did_you_mean(str(rest[0]), known)}"
        elif detail["type"] == "missing":
            if key not in meant:
                lines[key] = _required(model, key)
        elif key not in lines:
            lines[key] = _line(detail, key, annotation, _dig(values, path)) + _origin(origins, path)
    place = {key: index for index, key in enumerate(fields.keys(model))}
    return [lines[key] for key in sorted(lines, key=lambda key: place.get(key, len(place)))]


def _locate(
    model: Model, loc: tuple[int | str, ...]
) -> tuple[tuple[int | str, ...], Any, tuple[int | str, ...]]:
    """Split pydantic's location into the part that the user typed and the rest (names of union members)."""
    annotation: Any = model
    for index, part in enumerate(loc):
        inner = fields.step(annotation, part)
        if inner is None or (fields.sole(annotation) is None):
            return loc[:index], annotation, loc[index:]
        annotation = inner
    return loc, annotation, ()


def _dig(values: Any, path: tuple[int | str, ...]) -> Any:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return values


def _origin(origins: Mapping[tuple[str, ...], str], path: tuple[int | str, ...]) -> str:
    """Say which preset set a key; a mistake inside a list is where the list is."""
    names = tuple(map(str, path))
    return next((origins[names[:end]] for end in range(len(names), 0, -1) if names[:end] in origins), "")


def _required(model: Model, key: str) -> str:
    info = fields.keys(model).get(key)
    return f"{key}: required" + (
        f"; for example {key}={show(info.examples[0])}" if info and info.examples else ""
    )


def _line(detail: ErrorDetails, key: str, annotation: Any, value: Any) -> str:
    section = fields.section_of(annotation) is not None
    given = f"{key}={show(value)}" if value is not _ABSENT and not section else key
    if detail["type"] not in _STANDARD:
        reason = str(detail.get("ctx", {}).get("error", "")) or detail["msg"]
        return f"{given}: {reason}" if given else reason
    listed = [str(choice) for choice in choices(annotation) if isinstance(value, str)]
    near = difflib.get_close_matches(str(value), listed, n=1, cutoff=0.6)
    hint = f"; did you mean {key}={near[0]}?" if near else ""
    if not near and isinstance(value, str) and fields.kinds(annotation) <= {"list", "null"}:
        hint = f"; write {key}=[{show(value)[:60]}]"
    return f"{given}: must be {allowed(annotation)}{hint}"
