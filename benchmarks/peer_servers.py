"""The servers that Manta is compared with, each as its documentation shows it.

python benchmarks/peer_servers.py fastapi BUNDLE PORT ENGINE

All run the same engine on the same bundle and answer with the five likeliest classes. FastAPI decodes as
Manta does, and is the most that one process gets out of this engine; the others decode with Pillow and
torchvision.
"""

import asyncio
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.bundle import Bundle, read_bundle
from lib.images.preprocess import prepare
from lib.predict.engines import Engine, Wanted, choose_engine

_TOP = 5
BATCH = 8
_CORES = len(os.sched_getaffinity(0))


def load(path: str, engine: str) -> tuple[Bundle, Engine]:
    torch.set_num_threads(_CORES)
    bundle = read_bundle(Path(path))
    return bundle, choose_engine(bundle, Wanted(engine, "fp32", threads=_CORES))


def pillow_transform(bundle: Bundle) -> Callable[[bytes], Tensor]:
    """Decode and preprocess as torchvision's documentation does, normalised: float32 [c, h, w]."""
    from PIL import Image
    from torchvision.transforms import v2

    spec = bundle.preprocess
    transform = v2.Compose(
        [
            v2.Resize(spec.resize_size),
            v2.CenterCrop(spec.image_size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(spec.mean), list(spec.std)),
        ]
    )
    return lambda data: transform(Image.open(io.BytesIO(data)).convert("RGB"))


def answer(bundle: Bundle, logits: Tensor) -> dict[str, Any]:
    """Return the answer for the logits [classes] of one image."""
    top = logits.softmax(0).topk(min(_TOP, len(logits)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return {"predictions": [{"label": bundle.classes[index], "probability": p} for index, p in pairs]}


def fastapi(path: str, port: int, engine_name: str) -> None:
    """FastAPI, one process: decoding in threads, and a task that drains the queue into the engine."""
    from concurrent.futures import ThreadPoolExecutor

    import uvicorn
    from fastapi import FastAPI, Request

    thread, decoders = ThreadPoolExecutor(1), ThreadPoolExecutor(_CORES)
    bundle, engine = thread.submit(load, path, engine_name).result()
    app, waiting = FastAPI(), asyncio.Queue[tuple[Tensor, asyncio.Future[Tensor]]]()
    tasks: list[asyncio.Task[None]] = []

    async def drain() -> None:
        while True:
            batch = [await waiting.get()]
            while len(batch) < BATCH and not waiting.empty():
                batch.append(waiting.get_nowait())
            pixels = torch.stack([each for each, _ in batch])
            rows = await asyncio.get_running_loop().run_in_executor(thread, engine, pixels)
            for (_, future), row in zip(batch, rows, strict=True):
                future.set_result(row)

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        if not tasks:
            tasks.append(loop.create_task(drain()))
        pixels = await loop.run_in_executor(decoders, prepare, await request.body(), bundle.preprocess)
        future: asyncio.Future[Tensor] = loop.create_future()
        waiting.put_nowait((pixels, future))
        return answer(bundle, await future)

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def litserve(path: str, port: int, engine_name: str) -> None:
    """LitServe with its batching."""
    from litserve_api import run  # a class that LitServe can send to its worker lies in a module

    run(path, port, engine_name)


def ray_naive(path: str, port: int, engine_name: str) -> None:
    """Ray Serve as its first example: a deployment that decodes and predicts one request after the other."""
    import signal

    import ray
    from ray import serve
    from starlette.requests import Request

    class Classifier:
        def __init__(self) -> None:
            self.bundle, self.engine = load(path, engine_name)
            self.transform = pillow_transform(self.bundle)

        async def __call__(self, request: Request) -> dict[str, Any]:
            image = self.transform(await request.body())
            return answer(self.bundle, self.engine(image[None])[0])

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(serve.deployment(Classifier).bind(), route_prefix="/predict")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        signal.pause()
    finally:
        ray.shutdown()


PEERS = {"fastapi": fastapi, "litserve": litserve, "ray_naive": ray_naive}


if __name__ == "__main__":
    name, bundle_path, number, wanted = sys.argv[1:]
    PEERS[name](bundle_path, int(number), wanted)
