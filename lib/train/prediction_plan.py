"""What a batch prediction will do, and the folder that remembers it so that it can go on.

plan = plan_prediction(config)
plan.num_images, plan.num_parts
open_job(plan)                       # raises UserError if the folder holds another job
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.paths import input_path, output_path
from lib.config.predicting import PredictConfig
from lib.data.loader import Pictures
from lib.data.pictures import open_pictures
from lib.errors import UserError
from lib.files import make_folder, write_text
from lib.predict.batch import part_size
from lib.predict.folder import Folder, read_folder

PREDICTIONS, RESULT = "predictions.parquet", "result.json"
_JOB = "job.json"
# Names that tell one input from another, at even distances.
_COMPARED = 1000


@dataclass(frozen=True)
class PredictionPlan:
    """A resolved batch prediction."""

    config: PredictConfig
    bundle: Folder
    name: str
    """Of the split, or `input`."""
    num_images: int
    identity: dict[str, Any]
    """What must be the same for a job to go on."""
    folder: Path

    @property
    def parts(self) -> Path:
        """Folder of the parts that are written."""
        return self.folder / "parts"

    @property
    def num_parts(self) -> int:
        """How many there will be."""
        return -(-self.num_images // part_size(self.config))

    def open(self) -> Pictures:
        """Open the input."""
        return open_pictures(self.config.input, self.config.read)

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        images = f"{self.num_images:,} images in {self.num_parts:,} parts of {part_size(self.config):,}"
        return [
            f"bundle    {self.bundle.path}: {self.bundle.arch}, {len(self.bundle.classes)} classes",
            f"input     {self.config.input}: {images}",
            f"results   {self.folder}",
        ]


def plan_prediction(config: PredictConfig) -> PredictionPlan:
    """Check bundle, input and output folder; raises `UserError` if one cannot be used."""
    bundle = read_folder(input_path(config.bundle).resolve())
    folder = output_path(config.out)
    if (folder / RESULT).exists():
        raise UserError(f"out={config.out} is finished: {folder}", "choose another out=, or remove it first")
    if folder.exists() and not (folder / _JOB).is_file() and any(folder.iterdir()):
        raise UserError(f"out={config.out} exists: {folder}", "choose another out=, or remove it first")
    pictures = open_pictures(config.input, config.read)
    try:
        count = len(pictures)
        if not count:
            raise UserError(f"input={config.input} has no pictures", "give another")
        keys = pictures.keys(np.unique(np.linspace(0, count - 1, min(_COMPARED, count)).astype(np.int64)))
    finally:
        pictures.close()
    identity = {
        "bundle": bundle.version,
        "images": count,
        "keys": hashlib.sha256("\n".join(keys).encode()).hexdigest(),
        "batch_size": config.batch_size,
        "part_images": part_size(config),
        "engine": config.engine,
        "abstain_below": config.abstain_below,
    }
    return PredictionPlan(config, bundle, pictures.name, count, identity, folder)


def open_job(plan: PredictionPlan) -> None:
    """Make the folder, or find in it what was done before; raises `UserError` if that is another job."""
    make_folder(plan.parts)
    path = plan.folder / _JOB
    if not path.is_file():
        write_text(path, json.dumps(plan.identity, indent=1) + "\n")
        return
    before = json.loads(path.read_text())
    changed = [name for name, value in plan.identity.items() if before.get(name) != value]
    if changed:
        told = ", ".join(f"{name} was {before.get(name)}, is {plan.identity[name]}" for name in changed)
        raise UserError(f"{plan.folder} holds another job: {told}", "choose another out=, or remove it first")
