"""Engines: what runs a network on this machine, each with the same answer, one faster than the other.

    engine = choose_engine(bundle, Wanted(threads=2))
    logits = engine(pixels)              # uint8 [b, c, h, w] -> float32 [b, classes]
    str(engine)                          # "openvino fp32, 45 images/s"

Every engine normalises as the bundle says, and takes float32 pixels as normalised already. Each has proved
itself on the golden picture before it may answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.bundle import Bundle
from lib.errors import MantaError, RunError, UserError
from lib.images.preprocess import prepare
from lib.predict.engines_openvino import int8_engine, openvino_engine
from lib.predict.engines_torch import (
    compiled_engine,
    graph_engine,
    half_engine,
    half_graph_engine,
    torch_engine,
)

# Takes uint8 [b, c, h, w], or float32 if it is normalised already; returns float32 logits [b, classes].
Forward = Callable[[Tensor], Tensor]
Tell = Callable[[str], object]
# Of a bundle, for a device and a number of threads.
Build = Callable[[Bundle, torch.device, int], Forward]

# By name and precision.
CPU_ENGINES: dict[tuple[str, str], Build] = {
    ("torch", "fp32"): torch_engine,
    ("compiled", "fp32"): compiled_engine,
    ("openvino", "fp32"): openvino_engine,
    ("openvino", "int8"): int8_engine,
}
GPU_ENGINES: dict[tuple[str, str], Build] = {
    ("torch", "fp32"): torch_engine,
    ("torch", "half"): half_engine,
    ("compiled", "fp32"): compiled_engine,
    ("cuda_graphs", "fp32"): graph_engine,
    ("cuda_graphs", "half"): half_graph_engine,
}
# Largest difference of a probability from the golden one, by precision. In fp32 another machine or batch size
# may change this much; a GPU multiplies with ten-bit mantissas (TF32) unless told otherwise. Int8 is compared
# with what it answered where it was made, and rounds differently from one processor to the next.
TOLERANCE = {"fp32": 1e-4, "half": 2e-2, "int8": 5e-2}
GPU_TOLERANCE = 1e-2
# Compiling takes longer than a replica should need to start, and gains less than OpenVINO does.
_ONLY_WHEN_ASKED = ("compiled",)
_MEASURED_S = 0.7


@dataclass(frozen=True)
class Wanted:
    """What is asked of an engine: `name` and `precision` may be auto; `threads` are the cores of one pass."""

    name: str = "auto"
    precision: str = "auto"
    threads: int = 1
    max_batch_size: int = 8
    device: str = "cpu"


TORCH = Wanted("torch", "fp32")


@dataclass(frozen=True)
class Engine:
    """A network that is ready to run."""

    name: str
    precision: str
    forward: Forward = field(repr=False)
    images_per_s: float | None = None
    """Measured when it was chosen among several."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return float32 logits [b, classes] for uint8 [b, c, h, w], or for normalised float32."""
        return self.forward(pixels)

    def __str__(self) -> str:
        speed = "" if self.images_per_s is None else f", {self.images_per_s:,.0f} images/s"
        return f"{self.name} {self.precision}{speed}"


def choose_engine(bundle: Bundle, wanted: Wanted = TORCH, tell: Tell = lambda _: None) -> Engine:
    """Build the fastest engine that is wanted, in the thread that will run it; `tell` is told how it went.

    Raises `UserError` if no engine is as wanted, `RunError` if the golden picture comes out differently.
    """
    names = candidates(bundle, wanted)
    if len(names) == 1:
        engine = build_engine(bundle, names[0], wanted)
        tell(f"engine {engine}")
        return engine
    engines = []
    for name in names:
        try:
            engines.append(build_engine(bundle, name, wanted))
        except Exception as error:
            # Runtimes refuse networks with exceptions of all kinds. Torch is what the others stand in for.
            if name == ("torch", "fp32"):
                raise
            problem = error.problem if isinstance(error, MantaError) else f"{type(error).__name__}: {error}"
            tell(f"engine {' '.join(name)} is left out: {problem}")
    measured = sorted(
        measure_engines(engines, bundle, wanted), key=lambda engine: -(engine.images_per_s or 0)
    )
    tell(f"engine {'; slower: '.join(map(str, measured[:2]))}{''.join(f'; {each}' for each in measured[2:])}")
    return measured[0]


def candidates(bundle: Bundle, wanted: Wanted) -> list[tuple[str, str]]:
    """Return name and precision of the engines that are as wanted, and can be had; torch comes first.

    Raises `UserError` if there is none.
    """
    known = GPU_ENGINES if wanted.device == "cuda" else CPU_ENGINES
    fitting = [
        (name, precision)
        for name, precision in known
        if wanted.name in (name, "auto") and wanted.precision in (precision, "auto")
    ]
    if not fitting:
        names = ", ".join(f"{name} {precision}" for name, precision in known)
        problem = f"there is no engine {wanted.name} {wanted.precision} on this device"
        raise UserError(problem, f"serve.engine and serve.precision may be: {names}")
    found = [each for each in fitting if wanted.name != "auto" or each[0] not in _ONLY_WHEN_ASKED]
    if bundle.manifest.int8 is None:
        found = [each for each in found if each[1] != "int8"]
        if not found:
            hint = f"make one that has: python jobs/quantize.py bundle={bundle.path} data.root=DATASET"
            raise UserError(f"serve.precision=int8: {bundle.path} has no int8 model", hint)
    if find_spec("openvino") is None:
        found = [each for each in found if each[0] != "openvino"]
        if not found:
            raise UserError("OpenVINO is not installed", "pip install 'manta[serve]'")
    return found


def build_engine(bundle: Bundle, name: tuple[str, str], wanted: Wanted) -> Engine:
    """Build one engine and prove it on the golden picture; raises `RunError` if it answers otherwise."""
    build = (GPU_ENGINES if wanted.device == "cuda" else CPU_ENGINES)[name]
    engine = Engine(*name, build(bundle, torch.device(wanted.device), wanted.threads))
    check_golden(engine, bundle, wanted.device)
    return engine


def check_golden(engine: Engine, bundle: Bundle, device: str = "cpu") -> None:
    """Predict the bundle's golden picture; raises `RunError` if this engine answers otherwise."""
    golden, int8 = bundle.golden(), bundle.manifest.int8
    expected, tolerance = golden.probabilities, tolerance_of(engine, device)
    if engine.precision == "int8":
        assert int8 is not None, "candidates() offers int8 to bundles that have it"
        expected = np.array(int8.golden, dtype=np.float32)
    logits = engine(prepare(golden.data, bundle.preprocess)[None])
    found = (logits / bundle.manifest.temperature).softmax(1)[0].numpy()
    check_answer(found, expected, tolerance, f"with {engine.name} {engine.precision}", bundle.path)


def check_answer(
    found: NDArray[Any], expected: NDArray[np.float32], tolerance: float, how: str, where: Path
) -> None:
    """Raise `RunError` if probabilities [classes] are not the golden ones in a folder."""
    difference = float(np.abs(found - expected).max())
    if not difference <= tolerance:
        raise RunError(
            f"the golden check failed: {how} a probability differs by {difference:.2g} (at most "
            f"{tolerance:g}) from the one in {where}",
            "the machine or a library computes differently from where the bundle was written",
        )


def tolerance_of(engine: Engine, device: str = "cpu") -> float:
    """Return how far a probability may be from the golden one."""
    tolerance = TOLERANCE[engine.precision]
    return tolerance if device == "cpu" or engine.precision == "int8" else max(tolerance, GPU_TOLERANCE)


def measure_engines(engines: list[Engine], bundle: Bundle, wanted: Wanted) -> list[Engine]:
    """Return the engines with their speed: they take turns, with one picture and with a full batch.

    A neighbour can only slow an engine down, so the fastest pass of each counts.
    """
    if len(engines) == 1:
        return engines
    pixels = prepare(bundle.golden().data, bundle.preprocess)
    batches = [torch.stack([pixels] * size) for size in sorted({1, wanted.max_batch_size})]
    best = {engine: [float("inf")] * len(batches) for engine in engines}
    start, rounds = perf_counter(), 0
    while rounds < 2 or perf_counter() - start < _MEASURED_S * len(engines):
        for engine, seconds in best.items():
            for place, batch in enumerate(batches):
                since = perf_counter()
                engine(batch)
                seconds[place] = min(seconds[place], (perf_counter() - since) / len(batch))
        rounds += 1
    return [replace(engine, images_per_s=len(batches) / sum(seconds)) for engine, seconds in best.items()]
