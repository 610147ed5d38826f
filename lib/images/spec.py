"""How a picture becomes pixels for a network: plain data that travels in the bundle.

spec = PreprocessSpec(image_size=224, resize_size=256, channels=3)
PreprocessSpec.from_dict(spec.to_dict()) == spec
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Interpolation = Literal["bilinear", "bicubic"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PreprocessSpec:
    """Resize the shorter side to `resize_size`, crop the centre square of `image_size`, normalise.

    `mean` and `std` are per channel, on the scale from 0 to 1.
    """

    image_size: int
    resize_size: int
    channels: int = 3
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        assert self.channels in (1, 3), self.channels
        assert self.resize_size >= self.image_size > 0, (self.resize_size, self.image_size)
        assert len(self.mean) == len(self.std) == self.channels, (self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON-ready data."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PreprocessSpec":
        """Rebuild a specification from `to_dict`."""
        return cls(**values | {"mean": tuple(values["mean"]), "std": tuple(values["std"])})
