"""The bundle: a trained model with all that is needed to use it, as a folder without pickle.

write_bundle(folder, BundleContent(model=…, classes=…, …))
bundle = read_bundle(folder)
model = bundle.build_model()          # in eval mode

bundle.json  model.safetensors  config.yaml  golden/  report/  README.md
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import nn

from lib import __version__
from lib.errors import UserError
from lib.files import make_folder, make_partial, read_model
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from lib.models.bundled import MANIFEST, WEIGHTS, BundleFacts
from lib.models.weights import load_exact
from lib.track.drift import Baseline


class Int8Facts(BaseModel):
    """The network in int8, and what that costs: accuracies are fractions of the same `num_samples` images."""

    model_config = ConfigDict(frozen=True)

    file: str
    """Of OpenVINO's .xml within the bundle; the weights lie beside it as .bin."""
    dataset: dict[str, str]
    split: str
    calibration_images: int
    """Images of the split that ranges were taken from; accuracy was measured on the others."""
    num_samples: int
    accuracy: float
    fp32_accuracy: float
    agreement: float
    """Fraction of the images to which both give the same label."""
    max_accuracy_drop: float
    golden: list[float]
    """Probabilities of the golden picture."""


class GateFacts(BaseModel):
    """The verdict of a release gate that was passed: what was asked, and what was measured."""

    model_config = ConfigDict(frozen=True)

    version: str
    """Of the bundle or ensemble that was measured; this is a copy of it."""
    dataset: dict[str, str]
    split: str
    num_samples: int
    checks: list[dict[str, Any]]


class CalibrationFacts(BaseModel):
    """Calibration error without the temperature and with it, on the split that it was fitted to."""

    model_config = ConfigDict(frozen=True)

    split: str
    num_samples: int
    ece_before: float
    ece: float


class BundleManifest(BundleFacts):
    """Contents of `bundle.json`."""

    manta_version: str
    temperature: float = 1.0
    calibration: CalibrationFacts | None = None
    metrics: dict[str, dict[str, float]]
    dataset: dict[str, str]
    int8: Int8Facts | None = None
    gate: GateFacts | None = None
    baseline: Baseline | None = None
    """What an endpoint holds its answers against; bundles of older versions have none."""


@dataclass(frozen=True)
class Golden:
    """A picture and the probabilities [classes] that the model gave it: proof that a replica is right."""

    data: bytes
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class BundleContent:
    """What goes into a bundle."""

    model: nn.Module
    arch: str
    arch_kwargs: dict[str, Any]
    classes: list[str]
    preprocess: PreprocessSpec
    metrics: dict[str, dict[str, float]]
    dataset: dict[str, str]
    golden: Golden
    config_yaml: str
    card: str
    temperature: float = 1.0
    calibration: CalibrationFacts | None = None
    baseline: Baseline | None = None
    write_report: Callable[[Path], object] | None = field(default=None, repr=False)
    """Writes the report into the folder it is given."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, its files checked against their checksums."""

    path: Path
    manifest: BundleManifest

    @property
    def arch(self) -> str:
        """Name of the network."""
        return self.manifest.arch

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by index."""
        return self.manifest.classes

    @property
    def preprocess(self) -> PreprocessSpec:
        """How a picture becomes the network's input."""
        return PreprocessSpec.from_dict(self.manifest.preprocess)

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits that change with the manifest, and so with any file of the bundle."""
        return hashlib.sha256(_to_json(self.manifest).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """Name of the model: the run's folder, in which the bundle lies."""
        path = self.path.resolve()
        return path.parent.name if path.name == "bundle" else path.name

    def build_model(self) -> nn.Module:
        """Build the network with the bundle's weights, in eval mode."""
        model = build_model(self.arch, **self.manifest.arch_kwargs)
        load_exact(model, load_file(self.path / WEIGHTS), self.arch)
        return model.eval()

    def golden(self) -> Golden:
        """Read the golden picture and its probabilities."""
        expected = json.loads((self.path / "golden/expected.json").read_text())
        probabilities = np.array(expected["probabilities"], dtype=np.float32)
        return Golden((self.path / "golden" / expected["image"]).read_bytes(), probabilities)


def write_bundle(path: Path, content: BundleContent) -> Bundle:
    """Write a bundle folder, complete or not at all.

    Raises `UserError` if the folder exists.
    """
    if path.exists():
        raise UserError(f"the bundle {path} exists", "choose another run.name, or remove it first")
    make_folder(path.parent)
    folder = make_partial(path)
    try:
        save_file({name: t.contiguous() for name, t in content.model.state_dict().items()}, folder / WEIGHTS)
        _write_golden(folder / "golden", content.golden)
        (folder / "config.yaml").write_text(content.config_yaml, encoding="utf-8")
        (folder / "README.md").write_text(content.card, encoding="utf-8")
        if content.write_report is not None:
            content.write_report(folder / "report")
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        manifest = BundleManifest(
            manta_version=__version__,
            arch=content.arch,
            arch_kwargs=content.arch_kwargs,
            classes=content.classes,
            preprocess=content.preprocess.to_dict(),
            temperature=content.temperature,
            calibration=content.calibration,
            baseline=content.baseline,
            metrics=content.metrics,
            dataset=content.dataset,
            sha256={p.relative_to(folder).as_posix(): _sha256(p) for p in files},
        )
        (folder / MANIFEST).write_text(_to_json(manifest, indent=1) + "\n", encoding="utf-8")
        folder.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Bundle(path, manifest)


def read_bundle(path: Path) -> Bundle:
    """Open a bundle folder and check every file against its checksum.

    Raises `UserError` if it is no bundle, has an unknown format, or a file is missing or has changed.
    """
    file = path / MANIFEST
    if not file.is_file():
        what = f"it has no {MANIFEST}" if path.exists() else "no such folder"
        raise UserError(f"{path} is not a bundle: {what}", "a run keeps its bundle in RUN/bundle")
    manifest = read_model(file, BundleManifest, "restore the bundle")
    for name, expected in manifest.sha256.items():
        part = path / name
        if not part.is_file():
            raise UserError(f"the bundle {path} lacks {name}", "restore the bundle")
        if _sha256(part) != expected:
            raise UserError(f"{part} has changed since the bundle was written", "restore the bundle")
    return Bundle(path, manifest)


def extend_bundle(bundle: Bundle, path: Path, extend: Callable[[Path], dict[str, BaseModel]]) -> Bundle:
    """Copy a bundle to `path`; `extend` writes into the copy, and returns facts for its manifest.

    Raises `UserError` if the folder exists.
    """
    if path.exists():
        raise UserError(f"the bundle {path} exists", "choose another out=, or remove it first")
    make_folder(path.parent)
    folder = make_partial(path)
    try:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
        facts = extend(folder)
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p != folder / MANIFEST]
        sha256 = {p.relative_to(folder).as_posix(): _sha256(p) for p in files}
        manifest = bundle.manifest.model_copy(update={**facts, "sha256": sha256})
        (folder / MANIFEST).write_text(_to_json(manifest, indent=1) + "\n", encoding="utf-8")
        folder.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Bundle(path, manifest)


def _to_json(manifest: BundleManifest, indent: int | None = None) -> str:
    # What a bundle lacks is not named: it reads as it did before there was any, and keeps its version.
    optional = ("calibration", "int8", "gate", "baseline")
    absent = {name for name in optional if getattr(manifest, name) is None}
    return manifest.model_dump_json(indent=indent, exclude=absent)


def _write_golden(folder: Path, golden: Golden) -> None:
    folder.mkdir()
    (folder / "image").write_bytes(golden.data)
    expected = {"image": "image", "probabilities": [float(p) for p in golden.probabilities]}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
