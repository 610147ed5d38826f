"""What training sees, as a picture: written once, at the start of a run, and shown in its report.

write_sheet(plan, inputs.order(0))     # RUN/report/augmentations.png
sheet = read_sheet(plan)               # None if there is none
"""

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.data.dataset import Samples
from lib.data.order import mix, sample_seeds
from lib.data.reader import DamagedSample
from lib.data.sampling import EpochPlan
from lib.files import make_folder, write_bytes
from lib.images.augment import train_transform
from lib.images.decode import ImageError
from lib.images.mix import mix_batch
from lib.report.sheet import Sheet, draw_sheet
from lib.train.inputs import stage_transform
from lib.train.plan import RunPlan

SHEET = "augmentations.png"
_IMAGES, _DRAWS, _MIXED = 5, 4, 2
# Samples that are tried until so many are good.
_CANDIDATES = 50


def write_sheet(plan: RunPlan, order: EpochPlan) -> None:
    """Write the first images of a run, one in a row: as measuring sees it, in a few draws, and mixed.

    Raises `RunError` if the disk refuses.
    """
    drawn = chain.from_iterable(order.batch(step)[0].tolist() for step in range(order.num_steps))
    ids = list(islice(drawn, _CANDIDATES))
    samples = plan.dataset.samples("train")
    try:
        rows = list(islice(_rows(plan, samples, ids), _IMAGES))
    finally:
        samples.close()
    if not rows:
        return  # every candidate is bad: the run will say so
    pictures = torch.stack(rows, dim=1)  # [columns, images, c, h, w]
    augment = plan.config.augment
    if augment.mix != "none":
        mixed = [
            _mixed(pictures[1 + draw], augment.mix, augment.mix_alpha, mix(plan.config.run.seed, draw))
            for draw in range(_MIXED)
        ]
        pictures = torch.cat([pictures, torch.stack(mixed)])
    make_folder(plan.folder / "report")
    cells: NDArray[np.uint8] = pictures.permute(1, 0, 3, 4, 2).numpy()
    write_bytes(plan.folder / "report" / SHEET, draw_sheet(cells))


def read_sheet(plan: RunPlan) -> Sheet | None:
    """Return the sheet of a run with what it shows, or None if it has none."""
    path = plan.folder / "report" / SHEET
    if not path.is_file():
        return None
    augment = plan.config.augment
    caption = (
        "The first images of the run, one in a row. On the left as measuring sees it, then with "
        f"augment.policy={augment.policy}, drawn {_DRAWS} times"
    )
    if augment.mix != "none":
        caption += f"; then the first {_MIXED} of these draws with augment.mix={augment.mix}"
    return Sheet(path.read_bytes(), f"{caption}.")


def _rows(plan: RunPlan, samples: Samples, ids: list[int]) -> Iterator[Tensor]:
    """Yield uint8 [columns, c, h, w] for each image that can be used."""
    seed, stage = plan.config.run.seed, plan.stage(0)
    plain = train_transform("none", plan.spec(stage), plan.config.data.max_pixels)
    augmented = stage_transform(plan, stage)
    for sample_id in ids:
        # The seeds that it has in the first epochs, if each takes every sample once.
        seeds = [sample_seeds(np.array([sample_id]), seed, epoch)[0] for epoch in range(_DRAWS)]
        try:
            data = samples.read(sample_id)
            yield torch.stack([plain(data, 0), *(augmented(data, seed) for seed in seeds)])
        except (DamagedSample, ImageError):
            continue


def _mixed(pictures: Tensor, kind: str, alpha: float, seed: int) -> Tensor:
    """Mix uint8 [b, c, h, w] with each other."""
    labels = torch.zeros(len(pictures), dtype=torch.int64)
    mixed, _ = mix_batch(kind, alpha, pictures.float(), labels, num_classes=1, seed=seed)
    return mixed.round().to(torch.uint8)
