"""The network of a bundle for other programs: ONNX, torch.export, safetensors; each checked before it stays.

plan = plan_export(config)
result = export(plan, say)           # writes plan.folder

What is exported takes pixels uint8 [n, c, h, w], any n, resized and cropped as `export.json` says, and gives
probabilities float32 [n, classes]: normalising and the temperature are part of it, for nobody to repeat.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.bundle import Bundle, read_bundle
from lib.config.exporting import ExportConfig, Format
from lib.config.paths import input_path, output_path
from lib.errors import RunError, UserError
from lib.files import make_folder, make_partial, write_text
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from lib.models.bundled import WEIGHTS
from lib.models.weights import load_exact
from lib.predict.engines import TOLERANCE
from lib.predict.engines_openvino import without_telemetry

FILES: dict[Format, str] = {"onnx": "model.onnx", "torch": "model.pt2", "safetensors": WEIGHTS}
FACTS = "export.json"
# Any number of pictures, as far as torch has to promise something.
_MOST_IMAGES = 4096
# Random pictures that a file is checked with, beside the golden one.
_CHECKED = 4

# Takes uint8 [n, c, h, w], gives float32 [n, classes].
Answer = Callable[[Tensor], Tensor]


class Exported(nn.Module):
    """A network with what belongs to it: pixels uint8 [n, c, h, w] to probabilities [n, classes]."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, spec: PreprocessSpec, temperature: float) -> None:
        super().__init__()
        self.network = network
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)
        self.temperature = temperature

    def forward(self, pixels: Tensor) -> Tensor:
        """Return probabilities that sum to 1."""
        logits = self.network(pixels.float() * self.scale + self.shift)
        probabilities: Tensor = (logits / self.temperature).softmax(1)
        return probabilities


@dataclass(frozen=True)
class ExportPlan:
    """A resolved export."""

    config: ExportConfig
    bundle: Bundle
    folder: Path

    def lines(self) -> list[str]:
        """Describe the job for a person."""
        return [
            f"bundle    {self.bundle.path}: {self.bundle.arch}, {len(self.bundle.classes)} classes",
            f"formats   {', '.join(FILES[each] for each in self.config.formats)}",
            f"results   {self.folder}",
        ]


def plan_export(config: ExportConfig) -> ExportPlan:
    """Check that the bundle can be exported; raises `UserError` if something is missing, or `out` exists."""
    missing = [name for name in ("onnx", "onnxscript", "openvino") if find_spec(name) is None]
    if "onnx" in config.formats and missing:
        raise UserError(f"formats=onnx needs {', '.join(missing)}", "pip install 'manta[export]'")
    bundle = read_bundle(input_path(config.bundle).resolve())
    run = bundle.path.parent if bundle.path.name == "bundle" else bundle.path
    folder = output_path(config.out) if config.out else run.with_name(f"{run.name}-export")
    if folder.exists():
        raise UserError(f"{folder} exists", "choose another out=, or remove it first")
    return ExportPlan(config, bundle, folder)


def export(plan: ExportPlan, tell: Callable[[str], object]) -> dict[str, Any]:
    """Write and check each format; return the content of `export.json`.

    Raises `RunError` if a file answers otherwise than the bundle, or torch cannot export the network; nothing
    is written then.
    """
    bundle, spec = plan.bundle, plan.bundle.preprocess
    exported = Exported(bundle.build_model(), spec, bundle.manifest.temperature).eval()
    golden = prepare(bundle.golden().data, spec)[None].contiguous()
    generator = torch.Generator().manual_seed(0)
    random = torch.randint(0, 256, (_CHECKED, *golden.shape[1:]), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        expected = exported(torch.cat([golden, random]))
    make_folder(plan.folder.parent)
    folder = make_partial(plan.folder)
    try:
        differences: dict[str, float] = {}
        for each in plan.config.formats:
            answer = _WRITERS[each](exported, bundle, folder / FILES[each])
            with torch.no_grad():
                # One picture alone and several: the number of them must be free.
                found = torch.cat([answer(golden), answer(random)])
            differences[each] = float((found - expected).abs().max())
            tell(f"{FILES[each]}: differs from the bundle by {differences[each]:.1e} at most")
            if not differences[each] <= TOLERANCE["fp32"]:
                hint = f"at most {TOLERANCE['fp32']:g} is allowed; leave out formats={each}"
                raise RunError(f"{FILES[each]} answers otherwise, by {differences[each]:.2g}", hint)
        result = _facts(plan, differences)
        write_text(folder / FACTS, json.dumps(result, indent=1) + "\n")
        folder.rename(plan.folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _facts(plan: ExportPlan, differences: dict[str, float]) -> dict[str, Any]:
    bundle, spec = plan.bundle, plan.bundle.preprocess
    return {
        "bundle": str(bundle.path),
        "version": bundle.version,
        "arch": bundle.arch,
        "arch_kwargs": bundle.manifest.arch_kwargs,
        "classes": bundle.classes,
        "input": {
            "name": "pixels",
            "dtype": "uint8",
            "shape": ["n", spec.channels, spec.image_size, spec.image_size],
            "preprocess": spec.to_dict(),
        },
        "output": {"name": "probabilities", "dtype": "float32", "shape": ["n", len(bundle.classes)]},
        "files": {
            each: {"file": FILES[each], "largest_difference": differences[each]}
            for each in plan.config.formats
        },
        "checked_on": 1 + _CHECKED,
    }


def _program(exported: Exported, bundle: Bundle) -> torch.export.ExportedProgram:
    spec = bundle.preprocess
    # Two pictures: torch.export takes one for a network that has no batches.
    example = torch.zeros(2, spec.channels, spec.image_size, spec.image_size, dtype=torch.uint8)
    batch = torch.export.Dim("n", min=1, max=_MOST_IMAGES)
    try:
        with torch.no_grad():
            return torch.export.export(exported, (example,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:  # torch.export refuses networks with exceptions of all kinds
        problem = f"{bundle.arch} cannot be exported: {str(error).splitlines()[0]}"
        raise RunError(problem, "formats=[safetensors] needs the weights alone") from error


def _torch(exported: Exported, bundle: Bundle, path: Path) -> Answer:
    torch.export.save(_program(exported, bundle), path)
    module: Answer = torch.export.load(path).module()
    return module


def _onnx(exported: Exported, bundle: Bundle, path: Path) -> Answer:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Of torch about its own internals.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _program(exported, bundle),
            (),
            str(path),
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    compiled = without_telemetry().Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def answer(pixels: Tensor) -> Tensor:
        return torch.from_numpy(compiled(pixels.contiguous().numpy())[0])

    return answer


def _safetensors(exported: Exported, bundle: Bundle, path: Path) -> Answer:
    shutil.copyfile(bundle.path / WEIGHTS, path)
    network = build_model(bundle.arch, **bundle.manifest.arch_kwargs)
    load_exact(network, load_file(path), bundle.arch)
    return Exported(network, bundle.preprocess, exported.temperature).eval()


_WRITERS: dict[Format, Callable[[Exported, Bundle, Path], Answer]] = {
    "onnx": _onnx,
    "torch": _torch,
    "safetensors": _safetensors,
}
