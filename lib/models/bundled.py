"""A bundle as a start for another training: what it says of its network, its classes and its pictures.

    facts = bundle_facts("runs/x/bundle")            # None where there is no bundle
    facts.arch, facts.classes                        # "resnet18", ("cat", "dog")
    note = match_head(model, state, facts.classes, ("cow", "cat"))

The rows of the head go by the names of the classes, so another order, or a class more, changes nothing for
those that stay.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from lib.errors import UserError
from lib.files import read_model
from lib.models.head import classifier_paths, head_outputs

FORMAT: Literal[1] = 1
MANIFEST = "bundle.json"
WEIGHTS = "model.safetensors"
SHOWN = 3  # names of classes in a sentence


class BundleFacts(BaseModel):
    """The part of `bundle.json` that another training needs."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    arch: str
    arch_kwargs: dict[str, Any]
    classes: list[str]
    preprocess: dict[str, Any]
    sha256: dict[str, str]

    @property
    def stem(self) -> str:
        """The stem of its network."""
        return str(self.arch_kwargs.get("stem", "standard"))


def bundle_facts(weights: str | Path) -> BundleFacts | None:
    """Read what the bundle at `weights` says, or None if that is a word or no bundle.

    `weights` is the folder, or the file of weights in it. Raises UserError for an unknown format.
    """
    path = Path(weights)
    folder = path.parent if path.name == WEIGHTS else path
    file = folder / MANIFEST
    return read_model(file, BundleFacts, "restore the bundle") if file.is_file() else None


def check_intact(file: Path, facts: BundleFacts) -> None:
    """UserError if the weights of a bundle have changed since it was written."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != facts.sha256.get(WEIGHTS):
        raise UserError(f"{file} has changed since the bundle was written", "restore the bundle")


def match_head(model: nn.Module, state: dict[str, Tensor], had: Sequence[str], wanted: Sequence[str]) -> str:
    """Put the rows of the head in `state` in the order of `wanted`, and tell in a sentence what is new.

    `had` names the rows that are there. A class without a row keeps the random one of `model`; where no class
    has one, the head is left out of `state`.
    """
    own = model.state_dict()
    new = [name for name in wanted if name not in had]
    for part in classifier_paths(model):
        for key in (f"{part}.weight", f"{part}.bias"):
            if key not in own or key not in state:
                continue
            old = state.pop(key)
            if len(new) < len(wanted) and old.shape[1:] == own[key].shape[1:]:
                rows = [own[key][i] if n in new else old[had.index(n)] for i, n in enumerate(wanted)]
                state[key] = torch.stack(rows)
    if not new:
        moved = "" if [name for name in had if name in wanted] == list(wanted) else ", in another order"
        return f"every tensor was taken over, the head for {len(wanted)} classes by name too{moved}"
    if len(new) == len(wanted):
        return f"the head is new (random): {head_outputs(model)} classes, none of the bundle's {len(had)}"
    names = ", ".join(new[:SHOWN]) + (f" and {len(new) - SHOWN} more" if len(new) > SHOWN else "")
    return f"the head was taken over by name for {len(wanted) - len(new)} classes; new (random): {names}"
