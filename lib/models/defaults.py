"""How a network wants its images: size, interpolation, mean and standard deviation.

    default_preprocess("resnet18", "default")
    # {"image_size": 224, "resize_size": 256, "interpolation": "bilinear", "mean": (...), "std": (...)}

Read from the library's description of its pretrained weights, never typed.
"""

from typing import Any

import torchvision

from lib.config.names import TORCHVISION_MODELS
from lib.models.bundled import bundle_facts
from lib.models.registry import TIMM_PREFIX, check_model_name, import_timm

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
KEYS = ("image_size", "resize_size", "interpolation", "mean", "std")

# Side of the image in pixels for Manta's own networks.
MANTA_SIZES = {"lenet5": 28, "mobilenet_v1": 224, "resnet8": 32, "resnet14": 32, "resnet20": 32}


def default_preprocess(name: str, weights: str = "none", *, channels: int = 3) -> dict[str, Any]:
    """Preprocessing of a model: image_size, resize_size (pixels), interpolation, mean, std (per channel).

    `weights` of a bundle bring their own. Otherwise they make no difference, so that pretrained and random
    starts compare on equal images. With one channel, mean and std are the means of the three.
    """
    facts = bundle_facts(weights)
    values = _for_rgb(name) if facts is None else _values(*(facts.preprocess[key] for key in KEYS))
    for key in ("mean", "std"):
        if len(values[key]) != channels:
            values[key] = (sum(values[key]) / len(values[key]),) * channels
    return values


def _for_rgb(name: str) -> dict[str, Any]:
    if name in MANTA_SIZES:
        size = MANTA_SIZES[name]
        return _values(size, 256 if size == 224 else size, "bilinear", HALF, HALF)
    if name in TORCHVISION_MODELS:
        transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        mean, std = transforms.mean, transforms.std
        if name in ("googlenet", "inception_v3"):
            # torchvision undoes ImageNet's mean and std inside these two networks to arrive at one half.
            mean = std = HALF
        size, resize = transforms.crop_size[0], transforms.resize_size[0]
        return _values(size, resize, transforms.interpolation.value, mean, std)
    if name.startswith(TIMM_PREFIX):
        check_model_name(name)
        config = import_timm().get_pretrained_cfg(name.removeprefix(TIMM_PREFIX))
        size = config.input_size[-1]
        interpolation = config.interpolation if config.interpolation == "bilinear" else "bicubic"
        return _values(size, int(size / config.crop_pct), interpolation, config.mean, config.std)
    check_model_name(name)
    return _values(224, 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD)


def _values(size: int, resize: int, interpolation: str, mean: Any, std: Any) -> dict[str, Any]:
    return {
        "image_size": size,
        "resize_size": resize,
        "interpolation": interpolation,
        "mean": tuple(mean),
        "std": tuple(std),
    }
