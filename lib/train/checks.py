"""What a dataset must have for a run to use it.

check_dataset(dataset, config)      # UserError, or nothing
"""

from lib.config.schema import FinetuneConfig
from lib.config.wording import did_you_mean
from lib.data.dataset import Dataset
from lib.errors import UserError


def check_dataset(dataset: Dataset, config: FinetuneConfig) -> None:
    """Raise `UserError` if splits, classes or the number of images do not do for a configuration."""
    splits = dataset.manifest.splits
    if "train" not in splits:
        raise UserError(f"{dataset.where} has no split 'train'", f"it has: {', '.join(splits)}")
    weighted = {"data": config.data.class_weights, "train": config.train.class_weights}
    lines = [
        f"{section}.class_weights.{name}: no such class{did_you_mean(name, dataset.classes)}"
        for section, weights in weighted.items()
        if isinstance(weights, dict)
        for name in weights
        if name not in dataset.classes
    ]
    if lines:
        shown = ", ".join(dataset.classes[:20]) + (", …" if len(dataset.classes) > 20 else "")
        raise UserError("\n".join(lines), f"classes of {dataset.where}: {shown}")
    workers = config.run.num_workers
    samples = splits["train"].num_samples
    wanted = config.data.train_images
    if wanted is not None and wanted > samples:
        raise UserError(
            f"data.train_images={wanted} is more than the {samples:,} training images of {dataset.where}",
            "leave it out to take all of them",
        )
    samples = wanted or samples
    if isinstance(workers, int) and samples < workers:
        hint = f"set run.num_workers={samples} or less"
        raise UserError(f"{samples} training images are fewer than run.num_workers={workers}", hint)
    if config.optim.schedule == "plateau" and "val" not in splits:
        raise UserError(
            f"optim.schedule=plateau follows the validation loss; {dataset.where} has no val split"
        )
    if config.train.early_stop_patience is not None and "val" not in splits:
        raise UserError(
            f"train.early_stop_patience waits for a better validation; {dataset.where} has no val split",
            "leave it out, or pack the dataset with split.val=0.1",
        )
    if samples == 0:
        raise UserError(f"{dataset.where} has no training images", "pack more images")
