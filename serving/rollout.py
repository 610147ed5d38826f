"""Rollouts as they come: from a file of the user's, or from Serve.

rollout = read_rollout_file("rollout.yaml")
rollout = read_rollout({"candidates": [{"bundle": "runs/photos-3/bundle", "weight": 0.05}]})
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from lib.config.load import load
from lib.config.paths import input_path
from lib.config.rollout import Rollout
from lib.config.serving import ServeConfig
from lib.errors import MantaError, RunError, UserError
from lib.predict.folder import read_folder
from serving.lineup import check_candidate


def read_rollout(given: Any) -> Rollout:
    """Read a `user_config`; raises `UserError` with every mistake, one line each."""
    if given is not None and not isinstance(given, Mapping):
        raise UserError(f"user_config is {given!r:.80}", "give bundle, candidates, rollback")
    return load(Rollout, list(words(given or {}))).config


def read_rollout_file(config: ServeConfig) -> Rollout:
    """Read the file of a rollout, and look at its bundles; the default without a file.

    Raises `UserError` for what cannot be read, has other classes than the stable version, or, with
    `serve.placement=split`, would need members that are not there.
    """
    if config.rollout.file is None:
        return Rollout()
    path = input_path(config.rollout.file)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise UserError(
            f"rollout.file={path}: no such YAML file", "its keys are bundle, candidates, rollback"
        )
    if config.serve.placement == "split":
        problem = "the members of serve.placement=split are deployed with the endpoint"
        raise UserError(problem, "leave out rollout.file; try a version with serve.placement=fused")
    rollout = load(Rollout, [str(path)]).config
    folders = [read_folder(input_path(rollout.bundle or config.bundle))]
    for candidate in rollout.candidates:
        folder = read_folder(input_path(candidate.bundle))
        check_candidate(folder, folders)
        folders.append(folder)
    return absolute(rollout)


def absolute(rollout: Rollout) -> Rollout:
    """Return a rollout whose paths do not depend on where it is read."""
    bundle = None if rollout.bundle is None else str(input_path(rollout.bundle))
    candidates = tuple(
        each.model_copy(update={"bundle": str(input_path(each.bundle))}) for each in rollout.candidates
    )
    return rollout.model_copy(update={"bundle": bundle, "candidates": candidates})


def follow(config: ServeConfig, roll_out: Callable[[Rollout], list[tuple[str, str]]]) -> list[str]:
    """Read the file again and change what is served; returns what to say about it."""
    try:
        rollout = read_rollout_file(config)
    except MantaError as error:
        return [f"nothing has changed: {error}"]
    try:
        refused = roll_out(rollout)
    except RunError as error:
        return [str(error)]
    served = [f"serving {rollout.bundle or input_path(config.bundle)}"]
    served += [f"  {one.bundle}: weight {one.weight:g}, shadow {one.shadow:g}" for one in rollout.candidates]
    return [*served, *(f"  refused {what}: {why}" for what, why in refused)]


def words(args: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Flatten nested arguments to the `dotted.key=value` words of the command line."""
    for key, value in args.items():
        if isinstance(value, Mapping):
            yield from words(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)
            yield f"{prefix}{key}={text.removesuffix('...' + chr(10)).strip()}"
