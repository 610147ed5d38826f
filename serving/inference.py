"""What a request of the Open Inference Protocol means, whichever way it came.

check_model(gateway, "digits", version="")                    # RequestError 404
outputs, model = await infer(gateway, inputs, Asked(["probabilities"]))      # tensors in, tensors out
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import lib
from serving.gateway import Gateway
from serving.problems import RequestError
from serving.schemas import ModelMetadata, ModelName, ServerMetadata, TensorMetadata
from serving.tensors import Tensor

IMAGE, PIXELS = "image", "pixels"
PROBABILITIES, LABEL = "probabilities", "label"
_INPUTS = f"send one input: {IMAGE} (BYTES [n]) or {PIXELS} (FP32 [n, c, h, w])"
_PIXELS_HINT = "send what the network takes, as GET /model describes it; or the pictures themselves as image"


@dataclass(frozen=True)
class Asked:
    """What a request wants beside its tensors: outputs, all if none are named, and a version, or any."""

    outputs: Sequence[str] = ()
    request_id: str = ""
    version: str = ""


async def infer(gateway: Gateway, inputs: Sequence[Tensor], asked: Asked) -> tuple[list[Tensor], ModelName]:
    """Classify; returns tensors, and the version that answered.

    Call it within `gateway.admission()`. Raises `RequestError` (400, 413, 415, 422).
    """
    for name in asked.outputs:
        if name not in (PROBABILITIES, LABEL):
            raise RequestError(422, f"unknown output {name[:40]}", f"known: {PROBABILITIES}, {LABEL}")
    if len(inputs) != 1:
        raise RequestError(422, f"{len(inputs)} inputs", _INPUTS)
    given = inputs[0]
    if given.name not in (IMAGE, PIXELS):
        raise RequestError(422, f"unknown input {given.name[:40]}", _INPUTS)
    images = _images(gateway, given) if given.name == IMAGE else _pixels(gateway, given)
    rows, model = await gateway.probabilities(images, asked.request_id, asked.version)
    labels = [gateway.bundle.classes[index].encode() for index in rows.argmax(1)]
    found = {
        PROBABILITIES: Tensor(PROBABILITIES, "FP32", list(rows.shape), rows.reshape(-1)),
        LABEL: Tensor(LABEL, "BYTES", [len(labels)], labels),
    }
    return [found[name] for name in asked.outputs or found], model


def _images(gateway: Gateway, given: Tensor) -> list[bytes]:
    if not isinstance(given.data, list) or len(given.shape) != 1:
        raise RequestError(422, f"{IMAGE} is {given.datatype} {given.shape}", "it is BYTES [n]")
    _check_count(gateway, len(given.data))
    return given.data


def _pixels(gateway: Gateway, given: Tensor) -> torch.Tensor:
    spec = gateway.bundle.preprocess
    wanted = [spec.channels, spec.image_size, spec.image_size]
    if isinstance(given.data, list) or given.shape[1:] != wanted:
        problem = f"{PIXELS} is {given.datatype} {given.shape}; this model takes FP32 {['n', *wanted]}"
        raise RequestError(422, problem.replace("'", ""), _PIXELS_HINT)
    _check_count(gateway, given.shape[0])
    if not np.isfinite(given.data).all():
        raise RequestError(422, f"{PIXELS} holds values that are not finite (NaN or infinite)", _PIXELS_HINT)
    return torch.from_numpy(given.data.reshape(given.shape).copy())


def _check_count(gateway: Gateway, count: int) -> None:
    most = gateway.config.limits.max_images
    if count < 1:
        raise RequestError(422, "no image in the request", "send one or more")
    if count > most:
        raise RequestError(
            413, f"{count} images in one request; at most {most} are allowed", "send fewer at a time"
        )


def check_model(gateway: Gateway, name: str, version: str = "") -> None:
    """Raise `RequestError` (404) unless this endpoint serves that model; no version stands for any."""
    here = gateway.name
    if name != here.name:
        raise RequestError(404, f"there is no model {name[:80]}", f"this endpoint serves {here.name}")
    served = [each.name.version for each in gateway.lineup.versions()]
    if version and version not in served:
        raise RequestError(
            404, f"there is no version {version[:80]} of {name}", f"this endpoint serves {', '.join(served)}"
        )


def check_parameters(given: Mapping[str, Any], known: Sequence[str] = ()) -> None:
    """Raise `RequestError` (422) for parameters that nothing here would look at."""
    for name in given:
        if name not in known:
            hint = f"known: {', '.join(known)}" if known else "leave it out"
            raise RequestError(422, f"unknown parameter {name[:40]}", hint)


def server_metadata() -> ServerMetadata:
    """Describe the server."""
    return ServerMetadata(version=lib.__version__, extensions=["binary_tensor_data"])


def model_metadata(gateway: Gateway) -> ModelMetadata:
    """Describe the model and its tensors; -1 stands for any number."""
    spec, classes = gateway.pixels_spec, len(gateway.bundle.classes)
    inputs = [TensorMetadata(name=IMAGE, datatype="BYTES", shape=[-1])]
    if spec is not None:
        shape = [-1, spec.channels, spec.image_size, spec.image_size]
        inputs.append(TensorMetadata(name=PIXELS, datatype="FP32", shape=shape))
    return ModelMetadata(
        name=gateway.name.name,
        versions=[version.name.version for version in gateway.lineup.versions()],
        platform="manta_torch",
        inputs=inputs,
        outputs=[
            TensorMetadata(name=PROBABILITIES, datatype="FP32", shape=[-1, classes]),
            TensorMetadata(name=LABEL, datatype="BYTES", shape=[-1]),
        ],
    )
