"""Whether the frozen part of the network is computed once, and what those features depend on.

    features = plan_features(config, dataset, arch_kwargs)
    features            # FeaturePlan, or a sentence that says why not, or None: nothing is frozen

An epoch changes nothing in what is frozen. So its output, for the same picture, is kept on the disk
(`lib.data.feature_store`), and epochs, runs and trials begin there. By default only where that changes no
result: with augmentation, every epoch shows another picture.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib.config.schema import FinetuneConfig
from lib.data.dataset import Dataset
from lib.data.feature_store import features_folder
from lib.errors import UserError
from lib.models.cut import cut_network
from lib.models.freeze import freeze_table
from lib.models.groups import depth_groups
from lib.models.registry import find_builder, is_custom
from lib.models.sizes import build_skeleton

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class FeaturePlan:
    """Features that a run will keep."""

    frozen: int
    """How many of the network's depth groups never learn, from the shallow end."""
    name: str
    """The module whose output they are."""
    shape: tuple[int, ...]
    views: int
    """Pictures of each training image."""
    size_bytes: int
    """Of all that the run keeps, in fp32."""

    def line(self) -> str:
        """Describe them for a person."""
        numbers = " x ".join(map(str, self.shape))
        views = f"{self.views} views of each training image" if self.views > 1 else "one view"
        return (
            f"{self.name} ({numbers} numbers an image) is computed once, {views}: "
            f"{self.size_bytes / 1e6:,.1f} MB in {features_folder()}"
        )


def plan_features(
    config: FinetuneConfig, dataset: Dataset, arch_kwargs: dict[str, Any]
) -> FeaturePlan | str | None:
    """Decide whether features are kept; if not, say why and what to type, or return None if none could be.

    Raises `UserError` if `train.feature_views` asks for what cannot be.
    """
    train = config.train
    if train.freeze == "none" or train.features_gb == 0:
        return None
    try:
        skeleton = build_skeleton(config.model.name, **arch_kwargs)
        frozen = _count_frozen(skeleton, config)
        _check_pictures(config)
        if is_custom(config.model.name):  # may hold tensors that are no buffers: it has to run for real
            skeleton = find_builder(config.model.name)(**arch_kwargs)
        name, shape = _features_of(skeleton, frozen, arch_kwargs)
        return _sized(config, dataset, frozen, name, shape)
    except UserError as error:
        if train.feature_views != "auto":
            raise UserError(
                f"train.feature_views={train.feature_views}: {error.problem}", error.hint
            ) from None
        return "; ".join([error.problem, *([error.hint] * bool(error.hint))])


def weights_digest(model: nn.Module, frozen: int) -> str:
    """Return the SHA-256 of the tensors of the first `frozen` groups."""
    learning = depth_groups(model)[frozen:]
    names = {name for group in learning for name in group.parameters}
    modules = tuple(f"{path}." for group in learning for path in group.modules)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name not in names and not name.startswith(modules):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _count_frozen(model: nn.Module, config: FinetuneConfig) -> int:
    """Return how many depth groups never learn, from the shallow end; UserError if there is none."""
    rows = freeze_table(model, config.train.freeze, config.train.epochs)
    frozen = next(number for number, row in enumerate(rows) if row.trainable)
    if not frozen:
        raise UserError(f"train.freeze={config.train.freeze} leaves no part frozen in every epoch")
    return frozen


def _check_pictures(config: FinetuneConfig) -> None:
    """UserError if the pictures of one epoch are not those of the next."""
    augment, train = config.augment, config.train
    if augment.mix != "none":
        raise UserError(f"augment.mix={augment.mix} blends other pictures in every epoch")
    if train.teachers:
        raise UserError("train.teacher looks at the pictures themselves")
    if train.shard != "none":
        raise UserError(f"train.shard={train.shard} shares out the network as a whole")
    if train.resize:
        raise UserError("train.resize shows pictures at other sizes")
    if augment.policy != "none" and train.feature_views == "auto":
        raise UserError(
            f"augment.policy={augment.policy} shows other pictures in every epoch",
            "augment.policy=none, or train.feature_views=4 for four fixed views of each image, would save "
            "most of the time",
        )


def _features_of(
    skeleton: nn.Module, frozen: int, arch_kwargs: dict[str, Any]
) -> tuple[str, tuple[int, ...]]:
    """Return the name of the last frozen module, and the shape of what it gives for one image."""
    parts = cut_network(skeleton, frozen)
    device = next(skeleton.parameters()).device
    side = arch_kwargs["image_size"]
    with torch.inference_mode():
        found = parts.prefix.eval()(torch.zeros(2, arch_kwargs["channels"], side, side, device=device))
    check_rows(found, images=2)
    return parts.name, tuple(found.shape[1:])


def check_rows(features: object, images: int) -> None:
    """UserError unless there is a row of features for each image."""
    if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != images:
        found = f"{list(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
        raise UserError(f"the frozen part gives {found} for {images} images, not a row for each")


def _sized(
    config: FinetuneConfig, dataset: Dataset, frozen: int, name: str, shape: tuple[int, ...]
) -> FeaturePlan:
    train = config.train
    views = 1 if train.feature_views == "auto" else train.feature_views
    splits = dataset.manifest.splits
    images = sum(split.num_samples for split in splits.values())
    images += (min(views, train.epochs) - 1) * splits["train"].num_samples
    size_bytes = images * int(torch.Size(shape).numel()) * _FLOAT_BYTES
    if size_bytes > train.features_gb * 1e9:
        raise UserError(
            f"features of {size_bytes / 1e9:,.1f} GB are more than train.features_gb={train.features_gb:g}",
            "raise it to compute the frozen part once",
        )
    return FeaturePlan(frozen, name, shape, views, size_bytes)
