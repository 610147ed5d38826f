"""A bundle that answers: bytes to probabilities, the same in a notebook, a batch job and the endpoint.

predictor = Predictor("runs/demo/run/bundle")
probabilities = predictor.predict([path.read_bytes()])     # float32 [n, classes]
predictor.bundle.classes[probabilities[0].argmax()]

Torch runs the network unless another engine is wanted: Predictor(path, Wanted("openvino", threads=4)).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lib.bundle import read_bundle
from lib.images.decode import MAX_PIXELS
from lib.images.preprocess import normalise, prepare
from lib.images.spec import PreprocessSpec
from lib.predict.engines import TORCH, Wanted, check_golden, choose_engine


class Predictor:
    """Runs the model of a bundle with the fastest engine that is wanted, in the thread that builds it.

    Raises `UserError` if there is no such engine, `RunError` if the golden picture comes out differently.
    """

    def __init__(
        self, path: str | Path, wanted: Wanted = TORCH, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        self.bundle = read_bundle(Path(path))
        self.engine = choose_engine(self.bundle, wanted, tell)
        self._device = wanted.device

    def prepare(self, data: bytes, max_pixels: int = MAX_PIXELS) -> Tensor:
        """Turn the bytes of a picture into uint8 [c, h, w]; raises `ImageError` if they are none."""
        return prepare(data, self.bundle.preprocess, max_pixels)

    def probabilities(self, pixels: Tensor) -> NDArray[np.float32]:
        """Return float32 [b, classes] for prepared pictures uint8 [b, c, h, w]."""
        logits = self.engine(pixels) / self.bundle.manifest.temperature
        probabilities: NDArray[np.float32] = logits.softmax(1).numpy()
        return probabilities

    def predict(self, images: Sequence[bytes], batch_size: int = 32) -> NDArray[np.float32]:
        """Return float32 [n, classes] for the bytes of n pictures."""
        parts = [np.empty((0, len(self.bundle.classes)), dtype=np.float32)]
        for first in range(0, len(images), batch_size):
            batch = [self.prepare(data) for data in images[first : first + batch_size]]
            parts.append(self.probabilities(torch.stack(batch)))
        return np.concatenate(parts)

    def golden_check(self) -> None:
        """Predict the bundle's golden picture; raises `RunError` if this machine answers otherwise."""
        check_golden(self.engine, self.bundle, self._device)


@torch.inference_mode()
def probabilities_of(
    model: nn.Module, pixels: Tensor, spec: PreprocessSpec, temperature: float
) -> NDArray[np.float32]:
    """Return float32 [b, classes] of a model in eval mode for uint8 [b, c, h, w] on its device."""
    images = normalise(pixels, spec).contiguous(memory_format=torch.channels_last)
    probabilities: Tensor = (model(images).float() / temperature).softmax(1)
    return probabilities.cpu().numpy()
