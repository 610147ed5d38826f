"""LitServe as a peer of `benchmarks/serve.py`: JSON with a picture in base64, for it takes no raw bytes.

python benchmarks/peer_servers.py litserve BUNDLE PORT ENGINE
"""

import base64
from typing import Any

import litserve
import torch
from peer_servers import BATCH, answer, load, pillow_transform
from torch import Tensor


class Api(litserve.LitAPI):
    def __init__(self, path: str, engine_name: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=0.01)
        self.path = path
        self.engine_name = engine_name

    def setup(self, device: str) -> None:  # noqa: ARG002
        self.bundle, self.engine = load(self.path, self.engine_name)
        self.transform = pillow_transform(self.bundle)

    def decode_request(self, request: dict[str, str]) -> Tensor:
        return self.transform(base64.b64decode(request["image"]))

    def batch(self, inputs: list[Tensor]) -> Tensor:
        return torch.stack(inputs)

    def predict(self, x: Tensor) -> Tensor:
        return self.engine(x)

    def unbatch(self, output: Tensor) -> list[Tensor]:
        return list(output)

    def encode_response(self, output: Tensor) -> dict[str, Any]:
        return answer(self.bundle, output)


def run(path: str, port: int, engine_name: str) -> None:
    server = litserve.LitServer(Api(path, engine_name), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
