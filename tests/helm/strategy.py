"""Values that a chart's schema allows, drawn by hypothesis.

given(values_of(schema))
"""

import re
import string
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
Strategy = st.SearchStrategy[Any]
_TEXT = st.text(string.ascii_letters + string.digits + " -_.:/'\"{}$#%&*!?|>@`\\,[]é\n", max_size=12)
# Above it a pod's name of a container, a quantity and a port have no meaning; the schema says int32 at most.
_MOST = 2**31 - 1


def values_of(root: Schema, leave_out: frozenset[str] = frozenset()) -> Strategy:
    """Draw values for a chart: a few keys of some sections; the rest are its defaults."""
    return _object(root, root, is_whole=False, most=4, leave_out=leave_out)


def _draw(schema: Schema, root: Schema, is_whole: bool) -> Strategy:
    if "$ref" in schema:
        return st.deferred(lambda: _draw(root["$defs"][schema["$ref"].rpartition("/")[2]], root, is_whole))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    if "anyOf" in schema:
        return st.one_of([_draw(each, root, is_whole) for each in schema["anyOf"]])
    return _TYPES[schema["type"]](schema, root, is_whole)


def _object(
    schema: Schema,
    root: Schema,
    *,
    is_whole: bool,
    most: int = 3,
    leave_out: frozenset[str] = frozenset(),
) -> Strategy:
    """Draw some properties; all that are required if nothing else fills them in (`is_whole`)."""
    names = [name for name in schema.get("properties", {}) if name not in leave_out]
    needed = [name for name in schema.get("required", []) if is_whole]
    least = schema.get("minProperties", 0)
    most = schema.get("maxProperties", most)

    # What a section of values.yaml does not require has no defaults either: it has to be whole.
    def drawn(name: str) -> Strategy:
        whole = is_whole or name not in schema.get("required", [])
        return _draw(schema["properties"][name], root, whole)

    @st.composite
    def draw(pick: Callable[[Strategy], Any]) -> Schema:
        others = [name for name in names if name not in needed]
        some = st.lists(st.sampled_from(others), unique=True, min_size=least, max_size=most)
        return {name: pick(drawn(name)) for name in [*needed, *(pick(some) if others else [])]}

    return draw()


def _map(schema: Schema, root: Schema, is_whole: bool) -> Strategy:
    if "properties" in schema:
        return _object(schema, root, is_whole=is_whole)
    if "patternProperties" in schema:
        ((pattern, inner),) = schema["patternProperties"].items()
        return st.dictionaries(_matching(pattern, {}), _draw(inner, root, True), max_size=2)
    if "examples" in schema:
        return st.sampled_from(schema["examples"])
    inner = schema.get("additionalProperties", {})
    return st.dictionaries(_TEXT, _draw(inner, root, True), max_size=2) if inner else st.just({})


def _list(schema: Schema, root: Schema, is_whole: bool) -> Strategy:
    if "prefixItems" in schema:
        return st.tuples(*(_draw(each, root, True) for each in schema["prefixItems"])).map(list)
    return st.lists(_draw(schema["items"], root, True), min_size=schema.get("minItems", 0), max_size=2)


def _text(schema: Schema, root: Schema, is_whole: bool) -> Strategy:
    if "pattern" in schema:
        return _matching(schema["pattern"], schema)
    drawn = _TEXT.filter(lambda text: len(text) >= schema.get("minLength", 0))
    return st.one_of(st.sampled_from(schema["examples"]), drawn) if "examples" in schema else drawn


def _matching(pattern: str, schema: Schema) -> Strategy:
    # Long ones are slow to draw, and have tests of their own.
    short = re.sub(r"\{0,\d{2,}\}", "{0,6}", pattern)
    found = st.from_regex(short, fullmatch=True, alphabet=st.characters(codec="ascii"))
    # `$` of Python also matches before a last newline.
    fits = found.map(lambda text: text.removesuffix("\n"))
    return fits.filter(lambda text: len(text) <= schema.get("maxLength", 253))


def _integer(schema: Schema, root: Schema, is_whole: bool) -> Strategy:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", _MOST + 1) - 1)
    return st.one_of(st.integers(low, min(low + 5, high)), st.integers(low, high))


def _number(schema: Schema, root: Schema, is_whole: bool) -> Strategy:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", 1e9))
    drawn = st.floats(
        low, high, exclude_min="exclusiveMinimum" in schema, exclude_max="exclusiveMaximum" in schema
    )
    return drawn.filter(lambda number: number == 0 or abs(number) > 1e-12)


_TYPES: dict[str, Callable[[Schema, Schema, bool], Strategy]] = {
    "object": _map,
    "array": _list,
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": lambda *_: st.booleans(),
    "null": lambda *_: st.none(),
}
