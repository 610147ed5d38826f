"""A network in int8, made after training: NNCF takes the ranges of its activations from pictures.

model = int8_model(bundle, pixels)            # uint8 [n, c, h, w] -> an OpenVINO model
forward = run_in_openvino(model, bundle.preprocess, threads=2)
"""

import contextlib
import io
import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from torch import Tensor

from lib.bundle import Bundle
from lib.errors import UserError
from lib.images.preprocess import normalise
from lib.predict.engines_openvino import convert, without_telemetry

if TYPE_CHECKING:
    import openvino

# Operations of attention, around which activations have outliers that NNCF then smooths.
_ATTENTION = {"ScaledDotProductAttention", "Softmax"}


def check_nncf() -> None:
    """Raise `UserError` if NNCF is not installed."""
    if find_spec("nncf") is None or find_spec("openvino") is None:
        raise UserError("NNCF is not installed", "pip install 'manta[quantize]'")


def int8_model(bundle: Bundle, pixels: Tensor) -> "openvino.Model":
    """Quantise the network of a bundle with the ranges that pictures, uint8 [n, c, h, w], give it."""
    without_telemetry()
    import nncf

    nncf.set_log_level(logging.ERROR)
    spec = bundle.preprocess
    model = convert(bundle.build_model(), spec)
    pictures = nncf.Dataset(list(pixels[:, None]), lambda each: normalise(each, spec).contiguous().numpy())
    has_attention = any(node.get_type_name() in _ATTENTION for node in model.get_ops())
    with contextlib.redirect_stdout(io.StringIO()):  # bars of its own
        return nncf.quantize(
            model,
            pictures,
            subset_size=len(pixels),
            # Activations that may be negative keep all their levels.
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if has_attention else None,
        )


def save_model(model: "openvino.Model", path: str) -> None:
    """Write a model as .xml, with its weights beside it as .bin."""
    without_telemetry().save_model(model, path, compress_to_fp16=False)
