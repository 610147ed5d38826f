"""The configuration of a job from the words of its command line.

loaded = load(FinetuneConfig, sys.argv[1:], prog="python jobs/finetune.py", description="Fine-tune …")
loaded.config.optim.lr, loaded.dry_run

python jobs/finetune.py jobs/presets/digits.yaml optim.lr=0.01 --dry-run
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from lib.config import fields
from lib.config.explain import explain
from lib.config.help import FLAGS, help_text, schema_text
from lib.config.wording import did_you_mean
from lib.config.words import Draft
from lib.config.yaml_write import to_yaml
from lib.console import say, show
from lib.errors import UserError

T = TypeVar("T", bound=BaseModel)

__all__ = ["Answer", "Loaded", "load", "show_plan", "to_yaml"]


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A configuration and the flags that came with it."""

    config: T
    dry_run: bool
    flags: frozenset[str]
    """The flags given of those that the job declared."""


def show_plan(loaded: Loaded[Any], lines: Iterable[str], *, config: BaseModel | None = None) -> None:
    """Say what a job will do; a dry run says its configuration first, `config` if it was resolved further."""
    if loaded.dry_run:
        say(to_yaml(config or loaded.config))
    for line in lines:
        say(line)


@dataclass(frozen=True)
class Answer:
    """A flag that prints a text and ends the job, like `--help`: it needs no configuration.

    `text` is given the words beside the flags.
    """

    help: str
    text: Callable[[Sequence[str]], str]


def load(
    model: type[T],
    words: Sequence[str],
    *,
    prog: str = "",
    description: str = "",
    flags: Mapping[str, str | Answer] | None = None,
) -> Loaded[T]:
    """Merge words left to right and check the result against a model.

    `flags` declares more flags, each with its help text (they come back in `Loaded.flags`) or as an `Answer`.
    Raises UserError with every mistake, one line each. SystemExit(0) after `--help`, `--schema` and answers.
    """
    declared = dict(flags or {})
    given = [word for word in words if word.startswith("-")]
    _answer(model, words, declared, prog, description)

    draft = Draft(model)
    for word in words:
        if word not in given:
            draft.read(word)
        elif word not in declared and word not in FLAGS:
            draft.mistakes.append(_unknown_flag(word, model, [*declared, *FLAGS]))
    config, lines = _validate(model, draft)
    if config is None or draft.mistakes:
        _refuse([*draft.mistakes, *lines])
    return Loaded(config, "--dry-run" in given, frozenset(given) & frozenset(declared))


def _answer(
    model: type[T], words: Sequence[str], declared: Mapping[str, str | Answer], prog: str, description: str
) -> None:
    """Print what was asked for instead of a run, if anything was."""
    given = [word for word in words if word.startswith("-")]
    if "--help" in given or "-h" in given:
        texts = {flag: item.help if isinstance(item, Answer) else item for flag, item in declared.items()}
        width = shutil.get_terminal_size().columns
        show(help_text(model, prog=prog, description=description, flags=texts, width=width))
        raise SystemExit(0)
    if "--schema" in given:
        show(schema_text(model))
        raise SystemExit(0)
    for flag, item in declared.items():
        if flag in given and isinstance(item, Answer):
            show(item.text([word for word in words if word not in given]))
            raise SystemExit(0)


def _unknown_flag(word: str, model: type[T], known: list[str]) -> str:
    bare = word.lstrip("-")
    key = bare.partition("=")[0]
    if key in fields.keys(model):
        return f"{word}: no such flag; write {bare if '=' in bare else f'{key}=VALUE'}"
    return f"{word}: no such flag{did_you_mean(word, known)}"


def _validate(model: type[T], draft: Draft) -> tuple[T | None, list[str]]:
    """Check the merged values; as strict JSON, so that text is never taken for a number or a boolean."""
    values = _merge(fields.starting_values(model), draft.values)
    try:
        return model.model_validate_json(json.dumps(values), strict=True), []
    except ValidationError as error:
        return None, explain(error, model, values, draft.origins, draft.meant)


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _refuse(mistakes: list[str]) -> NoReturn:
    """Raise one error with all mistakes, each once."""
    # A mistake stays one line, and quotes no control characters to the terminal.
    lines = list(
        dict.fromkeys("".join(c if c.isprintable() else repr(c)[1:-1] for c in each) for each in mistakes)
    )
    if len(lines) == 1:
        raise UserError(lines[0])
    raise UserError(f"{len(lines)} mistakes in the configuration", "\n".join(lines))
