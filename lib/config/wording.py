"""What a value may be, in words; and which key or choice was probably meant.

allowed(Annotated[float, Field(gt=0)])                    # "a number greater than 0"
did_you_mean(["lr"], ["optim.lr", "optim.name"])           # "; did you mean optim.lr?"
"""

import difflib
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal, get_args, get_origin

from lib.config.fields import alternatives, bare_of, is_table, metadata_of, section_of, step
from lib.config.yaml_write import show

_NOUNS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    Any: "any value",
}
_BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


def join(phrases: Sequence[str], word: str = "or") -> str:
    """Join phrases as in a sentence: `a, b or c`."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} {word} {phrases[-1]}"


def choices(annotation: Any) -> list[Any]:
    """Return the fixed values an annotation lists (Literal, Enum)."""
    found: list[Any] = []
    for each in alternatives(annotation):
        bare = bare_of(each)
        if get_origin(bare) is Literal:
            found += get_args(bare)
        elif isinstance(bare, type) and issubclass(bare, Enum):
            found += [choice.value for choice in bare]
    return found


def allowed(annotation: Any) -> str:
    """Say in words what a value may be, with its bounds; a union is one phrase with `or`."""
    constraints = metadata_of(annotation)
    phrases = []
    listed = choices(annotation)
    if len(listed) == 1:
        phrases.append(show(listed[0]))
    elif listed:
        phrases.append("one of " + ", ".join(show(choice) for choice in listed))
    for each in alternatives(annotation):
        bare = bare_of(each)
        if bare is bool:
            phrases += ["true", "false"]
        elif not choices(each):
            own = metadata_of(each)
            phrases.append(_phrase(bare, own if each is annotation else own + constraints))
    nulls = [phrase for phrase in phrases if phrase == "null"]
    return join(list(dict.fromkeys([phrase for phrase in phrases if phrase != "null"] + nulls)))


def _phrase(bare: Any, constraints: list[Any]) -> str:
    if section_of(bare) is not None or is_table(bare):
        return "a mapping"
    items = get_args(bare)
    if get_origin(bare) is tuple and Ellipsis not in items:
        return f"[{', '.join(allowed(item) for item in items)}]"
    if step(bare, 0) is not None:
        return _sized("a list", "items", constraints) + f", each {allowed(step(bare, 0))}"
    if bare in (int, float):
        return _bounded(_NOUNS[bare], constraints)
    if bare is str:
        return _sized("text", "characters", constraints)
    if isinstance(bare, type) and issubclass(bare, PurePath):
        return "a path"
    return _NOUNS.get(
        bare, "a list" if bare in (list, tuple, set) else f"a {getattr(bare, '__name__', bare)}"
    )


def _bounded(noun: str, constraints: list[Any]) -> str:
    bounds = [
        f"{words} {show(value)}"
        for name, words in _BOUNDS.items()
        for item in constraints
        if (value := getattr(item, name, None)) is not None
    ]
    bounds += [
        f"a multiple of {item.multiple_of}" for item in constraints if getattr(item, "multiple_of", None)
    ]
    if not bounds:
        return noun
    return f"{noun} {'of ' if bounds[0].startswith('at ') else ''}{join(bounds, 'and')}"


def _sized(noun: str, unit: str, constraints: list[Any]) -> str:
    low = next((item.min_length for item in constraints if getattr(item, "min_length", None)), None)
    high = next(
        (item.max_length for item in constraints if getattr(item, "max_length", None) is not None), None
    )
    if low == 1 and high is None:
        return f"{noun}, not empty"
    sizes = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    pattern = next((item.pattern for item in constraints if getattr(item, "pattern", None)), None)
    return (
        noun
        + (f" of {join(sizes, 'and')} {unit}" if sizes else "")
        + (f" that matches {getattr(pattern, 'pattern', pattern)}" if pattern else "")
    )


def did_you_mean(given: str, known: Iterable[str], *, suffix: str = "") -> str:
    """Return "; did you mean X?" for the known words nearest to the given one, or nothing."""
    near = nearest(given, list(known))
    return f"; did you mean {join([word + suffix for word in near])}?" if near else ""


def nearest(given: str, known: Sequence[str]) -> list[str]:
    """Return up to three known words that were probably meant, the right word in a wrong section first."""
    tail = given.rpartition(".")[2]
    same = [word for word in known if word.rpartition(".")[2] == tail]
    if same:
        return difflib.get_close_matches(given, same, n=3, cutoff=0.0)
    scores = {word: _likeness(given, word) for word in known}
    best = max(scores, key=lambda word: scores[word], default="")
    return [best] if best and scores[best] >= 0.6 else []


def _likeness(given: str, word: str) -> float:
    """Compare two keys from 0 to 1; within one section, or without any, by their last parts alone."""
    section, _, name = given.rpartition(".")
    above, _, last = word.rpartition(".")
    if section in (above, ""):
        given, word = name, last
    return difflib.SequenceMatcher(None, _loose(given), _loose(word)).ratio()


def _loose(word: str) -> str:
    return word.lower().replace("-", "_")
