"""A bundle that answers: bytes to probabilities, the same in a notebook, a batch job and the endpoint.

predictor = Predictor("runs/demo/run/bundle")
probabilities = predictor.predict([path.read_bytes()])     # float32 [n, classes]
predictor.bundle.classes[probabilities[0].argmax()]
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lib.bundle import read_bundle
from lib.errors import RunError
from lib.images.decode import MAX_PIXELS
from lib.images.preprocess import normalise, prepare
from lib.images.spec import PreprocessSpec

# Largest difference of a probability that another machine or batch size may make in fp32; a GPU multiplies
# with ten-bit mantissas (TF32) unless told otherwise.
GOLDEN_TOLERANCE = {"cpu": 1e-4, "cuda": 1e-2}


class Predictor:
    """Runs the model of a bundle on one device."""

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        self.bundle = read_bundle(Path(path))
        self._spec = self.bundle.preprocess
        self._device = torch.device(device)
        model = self.bundle.build_model().to(self._device)
        self._model = model.to(memory_format=torch.channels_last)
        self._temperature = self.bundle.manifest.temperature

    def prepare(self, data: bytes, max_pixels: int = MAX_PIXELS) -> Tensor:
        """Turn the bytes of a picture into uint8 [c, h, w]; raises `ImageError` if they are none."""
        return prepare(data, self._spec, max_pixels)

    def probabilities(self, pixels: Tensor) -> NDArray[np.float32]:
        """Return float32 [b, classes] for prepared pictures uint8 [b, c, h, w]."""
        return probabilities_of(self._model, pixels.to(self._device), self._spec, self._temperature)

    def predict(self, images: Sequence[bytes], batch_size: int = 32) -> NDArray[np.float32]:
        """Return float32 [n, classes] for the bytes of n pictures."""
        parts = [np.empty((0, len(self.bundle.classes)), dtype=np.float32)]
        for first in range(0, len(images), batch_size):
            batch = [self.prepare(data) for data in images[first : first + batch_size]]
            parts.append(self.probabilities(torch.stack(batch)))
        return np.concatenate(parts)

    def golden_check(self) -> None:
        """Predict the bundle's golden picture; raises `RunError` if this machine answers otherwise."""
        golden = self.bundle.golden()
        found = self.predict([golden.data])[0]
        difference = float(np.abs(found - golden.probabilities).max())
        tolerance = GOLDEN_TOLERANCE[self._device.type]
        if not difference <= tolerance:
            raise RunError(
                f"the golden check failed: a probability differs by {difference:.2g} "
                f"(at most {tolerance:g}) from the one in {self.bundle.path}",
                "the machine or a library computes differently from where the bundle was written",
            )


@torch.inference_mode()
def probabilities_of(
    model: nn.Module, pixels: Tensor, spec: PreprocessSpec, temperature: float
) -> NDArray[np.float32]:
    """Return float32 [b, classes] of a model in eval mode for uint8 [b, c, h, w] on its device."""
    images = normalise(pixels, spec).contiguous(memory_format=torch.channels_last)
    probabilities: Tensor = (model(images).float() / temperature).softmax(1)
    return probabilities.cpu().numpy()
