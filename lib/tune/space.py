"""Where the values of trials come from: grids, draws and conditions.

    variants(config.spaces, draws=16, seed=0)        # [{"optim.lr": 0.003, "run.seed": 0}, …]
    run_config(config, {"optim.lr": 0.003})          # the FinetuneConfig of that trial

A draw depends on the seed, its number and the key alone. So the trials of a study are the same ones when it
is started again, and more of them can be asked for.
"""

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from lib.config.explain import explain
from lib.config.schema import FinetuneConfig
from lib.config.tune import SEED, SpaceSection, TuneConfig
from lib.errors import UserError

Values = dict[str, Any]
Search = Mapping[str, SpaceSection]


def variants(search: Search, *, draws: int, seed: int, is_population: bool = False) -> list[Values]:
    """Return the values of all trials, in order: each draw with every combination of the grids.

    Draws of few choices repeat each other. The same trial again would tell nothing, except in a population
    whose members will part.
    """
    times = draws if any(space.is_drawn for space in search.values()) else 1
    found = [
        values for number in range(times) for values in _combined(search, list(search), {}, number, seed)
    ]
    if is_population:
        return found
    unique: dict[str, Values] = {}
    for values in found:
        unique.setdefault(json.dumps(values, sort_keys=True), values)
    return list(unique.values())


def _combined(search: Search, keys: list[str], values: Values, number: int, seed: int) -> Iterator[Values]:
    if not keys:
        yield values
        return
    key, rest = keys[0], keys[1:]
    space = search[key]
    if not space.is_active(values):
        yield from _combined(search, rest, values, number, seed)
        return
    options = space.grid if space.grid is not None else [_draw(space, _random(seed, number, key))]
    for option in options:
        yield from _combined(search, rest, {**values, key: option}, number, seed)


def _random(seed: int, number: int, key: str) -> np.random.Generator:
    return np.random.default_rng([seed, number, zlib.crc32(key.encode())])


def _draw(space: SpaceSection, random: np.random.Generator) -> Any:
    if space.choice is not None:
        return space.choice[int(random.integers(len(space.choice)))]
    if space.uniform is not None:
        return float(random.uniform(*space.uniform))
    assert space.loguniform is not None
    low, high = map(math.log, space.loguniform)
    return math.exp(random.uniform(low, high))


def run_config(config: TuneConfig, values: Mapping[str, Any], name: str, storage: Path) -> FinetuneConfig:
    """Return the configuration of the run that has these values.

    Raises `UserError` if no run can have them.
    """
    nested = config.model_dump(mode="json", exclude={"study", "search"})
    nested["run"] |= {"name": name, "storage": str(storage), "resume": None}
    for key, value in values.items():
        section, _, field = key.rpartition(".")
        reduce(lambda inner, part: inner[part], section.split("."), nested)[field] = value
    try:
        return FinetuneConfig.model_validate_json(json.dumps(nested), strict=True)
    except ValidationError as error:
        told = ", ".join(f"{key}={value}" for key, value in values.items())
        raise UserError(
            f"no run can have {told}", "\n".join(explain(error, FinetuneConfig, nested, {}))
        ) from None


def without_seed(values: Mapping[str, Any]) -> Values:
    """Return what makes a variant; trials that differ in their seed alone repeat it."""
    return {key: value for key, value in values.items() if key != SEED}


def label(search: Search, values: Mapping[str, Any]) -> str:
    """Name values for a person: `step`, `cosine, lr 0.01`."""
    told = [name_value(key, value) for key, value in values.items() if _tells(search[key], value)]
    return ", ".join(told) or "as it is"


def name_value(key: str, value: Any) -> str:
    """Name the value of a key for a person; a word says what it is about, a number or nothing does not."""
    text = "all" if value is None else _text(value)
    return text if _is_word(value) else f"{key.rpartition('.')[2].replace('_', ' ')} {text}"


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value not in ("none", "default", "auto")


def _tells(space: SpaceSection, value: Any) -> bool:
    """Whether a value tells variants apart: a number that only goes with another value does not."""
    return not (space.when and space.grid is not None and len(space.grid) == 1) or _is_word(value)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    # A file of weights goes by its name, a bundle by its run's.
    if "/" in text:
        path = Path(text)
        return path.parent.name if path.name == "bundle" else path.stem
    return text


def trial_name(search: Search, number: int, values: Mapping[str, Any]) -> str:
    """Return a name that can be a folder: the number, and what the trial is about."""
    about = re.sub(r"[^A-Za-z0-9.]+", "-", label(search, values)).strip("-.")[:60]
    return f"{number:03d}-{about}"
