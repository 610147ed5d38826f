"""An ensemble as Ray Serve's documentation composes models: a deployment for each, and one that asks all.

python benchmarks/naive_ensemble.py ENSEMBLE PORT

The one that is asked decodes with Pillow and torchvision, and averages; every member makes a forward pass in
eager torch for each view of each picture. Weights and temperatures are those of the ensemble, so that what it
answers is what all members of Manta's answer without a cascade.
"""

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from torch import Tensor

from lib.calibration import softmax
from lib.images.preprocess import normalise
from lib.images.spec import PreprocessSpec
from lib.images.views import VIEWS, view
from lib.predict.combine import combine
from lib.predict.folder import read_folder


class Member:
    """A network with its views."""

    def __init__(self, path: str, number: int) -> None:
        folder = read_folder(Path(path))
        bundle, entry = folder.bundles[number], folder.manifest.members[number]
        self.model, self.spec = bundle.build_model().eval(), bundle.preprocess
        self.views, self.temperature = VIEWS[folder.manifest.views], entry.temperature
        self.order = [bundle.classes.index(name) for name in folder.classes]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the mean probabilities [classes] of the views of pixels [c, h, w]."""
        picture = torch.from_numpy(pixels)[None]
        with torch.inference_mode():
            rows = [self.model(normalise(view(name, picture), self.spec))[0] for name in self.views]
        logits = torch.stack(rows).numpy()[:, self.order]
        mean: NDArray[np.float64] = softmax(logits, self.temperature).mean(axis=0)
        return mean


class Ensemble:
    """Takes requests, and asks every member."""

    def __init__(self, path: str, *members: DeploymentHandle[Any]) -> None:
        folder = read_folder(Path(path))
        self.members, self.classes = members, folder.classes
        self.weights = np.array([entry.weight for entry in folder.manifest.members])
        self.votes = folder.manifest.vote == "hard"
        self.transforms = [_transform(bundle.preprocess) for bundle in folder.bundles]

    async def __call__(self, request: Request) -> dict[str, Any]:
        data = await request.body()
        asked = [
            member.remote(transform(data).numpy())
            for member, transform in zip(self.members, self.transforms, strict=True)
        ]
        each = np.stack(await asyncio.gather(*asked))[:, None]
        probabilities = combine(each, self.weights, "votes" if self.votes else "mean")[0]
        best = np.argsort(-probabilities, kind="stable")[:5]
        pairs = [(self.classes[index], float(probabilities[index])) for index in best]
        return {"predictions": [{"label": label, "probability": found} for label, found in pairs]}


def _transform(spec: PreprocessSpec) -> Callable[[bytes], Tensor]:
    """Decode and resize as torchvision's documentation does: uint8 [c, h, w]."""
    from PIL import Image
    from torchvision.transforms import v2

    resize = v2.Compose([v2.Resize(spec.resize_size), v2.CenterCrop(spec.image_size), v2.PILToTensor()])
    mode = "L" if spec.channels == 1 else "RGB"
    return lambda data: resize(Image.open(io.BytesIO(data)).convert(mode))


def main() -> None:
    path, port = sys.argv[1], int(sys.argv[2])
    count = len(read_folder(Path(path)).bundles)
    # A core for each deployment is the default, which would not start where there are fewer.
    share = {"num_cpus": min(1.0, len(os.sched_getaffinity(0)) / (count + 1))}
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    member = serve.deployment(Member, ray_actor_options=share)
    members = [member.options(name=f"member-{number}").bind(path, number) for number in range(count)]
    ensemble = serve.deployment(Ensemble, ray_actor_options=share).bind(path, *members)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        serve.run(ensemble, route_prefix="/predict")
        signal.pause()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
