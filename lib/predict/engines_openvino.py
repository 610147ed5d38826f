"""OpenVINO as an engine: on a CPU it runs most networks faster than torch, and int8 twice as fast again.

forward = openvino_engine(bundle, torch.device("cpu"), threads=2)
logits = forward(pixels)                 # uint8 [b, c, h, w] -> float32 [b, classes]

The network is converted when the engine is built, which takes seconds. Int8 comes from the bundle, where
jobs/quantize.py has put it. OpenVINO lets go of the interpreter while it runs.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lib.bundle import Bundle
from lib.images.spec import PreprocessSpec
from lib.predict.engines_torch import Forward

if TYPE_CHECKING:
    import openvino

_MOST_IMAGES = 4096


def openvino_engine(bundle: Bundle, device: torch.device, threads: int) -> Forward:  # noqa: ARG001
    """Convert the network and run it in fp32."""
    return run_in_openvino(convert(bundle.build_model(), bundle.preprocess), bundle.preprocess, threads)


def int8_engine(bundle: Bundle, device: torch.device, threads: int) -> Forward:  # noqa: ARG001
    """Run the int8 network of the bundle."""
    assert bundle.manifest.int8 is not None, "only bundles that have one are asked for it"
    return run_in_openvino(load(bundle.path / bundle.manifest.int8.file), bundle.preprocess, threads)


def convert(network: nn.Module, spec: PreprocessSpec) -> "openvino.Model":
    """Convert a network in eval mode, to take normalised float32 [b, c, h, w] with any b."""
    # Two pictures: torch.export takes one for a network that has no batches.
    example = torch.zeros(2, spec.channels, spec.image_size, spec.image_size)
    batch = torch.export.Dim("batch", min=1, max=_MOST_IMAGES)
    with torch.no_grad():
        exported = torch.export.export(network, (example,), dynamic_shapes=({0: batch},), strict=False)
    return without_telemetry().convert_model(exported)


def load(path: Path) -> "openvino.Model":
    """Read a network that was saved as .xml, with its weights beside it as .bin."""
    return without_telemetry().Core().read_model(path)


def run_in_openvino(model: "openvino.Model", spec: PreprocessSpec, threads: int) -> Forward:
    """Compile a network that takes normalised pictures, with normalising as its first step."""
    requests = {torch.uint8: _compile(model, spec, threads, torch.uint8)}

    def forward(pixels: Tensor) -> Tensor:
        if pixels.dtype not in requests:
            requests[pixels.dtype] = _compile(model, spec, threads, pixels.dtype)
        rows = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        found = requests[pixels.dtype].infer({0: rows}, share_inputs=True)
        return torch.from_numpy(found[0])

    return forward


def _compile(
    model: "openvino.Model", spec: PreprocessSpec, threads: int, dtype: torch.dtype
) -> "openvino.InferRequest":
    """Return a request that takes [b, h, w, c]: uint8, or float32 that is normalised already."""
    ov = without_telemetry()
    steps = ov.preprocess.PrePostProcessor(model.clone())
    tensor = steps.input().tensor()
    tensor.set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    if dtype == torch.uint8:
        tensor.set_element_type(ov.Type.u8)
        as_float = steps.input().preprocess().convert_element_type(ov.Type.f32)
        as_float.mean([255 * value for value in spec.mean]).scale([255 * value for value in spec.std])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # Replicas that are pinned would all be pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
        # It would take bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return ov.Core().compile_model(steps.build(), "CPU", settings).create_infer_request()


def without_telemetry() -> Any:
    """Import OpenVINO without its telemetry, which would tell its makers of every start."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: cannot be imported
    import openvino

    return openvino
