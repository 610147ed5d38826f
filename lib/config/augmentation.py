"""What training does to an image that evaluation does not."""

from typing import Annotated, Literal

from pydantic import Field

from lib.config.section import Section

Mix = Literal["none", "mixup", "cutmix", "both"]


class AugmentSection(Section):
    """What training does to an image that evaluation does not."""

    policy: str = Field(default="standard", examples=["none", "light", "standard", "strong", "trivial"])
    """none, light (crop), standard (crop and flip), strong (crop, flip, colour, erasing); trivial,
    randaugment, autoaugment, augmix (crop, flip, and what the papers do); albumentations:FILE (crop, and a
    pipeline saved as .json or .yaml); package.module:function (crop, and transforms of your own)."""
    min_crop: Annotated[float, Field(gt=0, le=1)] = 0.35
    """Smallest share of the image that a random crop takes; images of up to 64 pixels are shifted instead."""
    mix: Mix = "none"
    """Blend pairs of images and their labels: mixup, cutmix, or both in turn at random. Pairs are made within
    each worker's share of a batch, so other numbers of workers blend other pairs."""
    mix_alpha: Annotated[float, Field(gt=0)] = 1.0
    """Parameter of the Beta distribution of the blend."""
