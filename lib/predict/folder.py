"""The ensemble: bundles and how they answer together, as a folder that is complete by itself.

folder = read_folder(Path("runs/ensembles/pets"))     # or a bundle, which is an ensemble of one
folder.bundles[0].build_model()

ensemble.json  members/0-lenet5/ members/1-resnet18/ …  golden/  config.yaml  report/  README.md
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from lib import __version__
from lib.bundle import Bundle, GateFacts, Golden, extend_bundle, read_bundle
from lib.errors import UserError
from lib.files import make_folder, make_partial, read_model
from lib.images.spec import PreprocessSpec
from lib.models.bundled import MANIFEST as BUNDLE_MANIFEST
from lib.track.drift import Baseline

MANIFEST = "ensemble.json"
_RESTORE = "restore the ensemble"


class MemberEntry(BaseModel):
    """A bundle among the members."""

    model_config = ConfigDict(frozen=True)

    path: str
    """Of the bundle's folder, within the ensemble."""
    sha256: str
    """Of its `bundle.json`, which holds the checksums of its files."""
    weight: float
    cost: float
    """Milliseconds per image and view, where the ensemble was made."""
    temperature: float
    """Divides its logits."""


class CascadeEntry(BaseModel):
    """Who is asked when. The lists have an entry per stage, `thresholds` and `temperatures` one less."""

    model_config = ConfigDict(frozen=True)

    order: list[int]
    """The member of each stage."""
    views: list[str]
    """The views that it is asked with; those that it has seen before are not computed again."""
    thresholds: list[float | None]
    """An image stops after a stage if it is at least as confident as this; null: none stops there."""
    temperatures: list[float]
    """Calibrates the confidence after a stage."""
    max_accuracy_drop: float
    expected_mean_members: float
    expected_cost: float
    """Milliseconds per image; that of the full ensemble is the sum of its members' costs, times the views."""


class EnsembleManifest(BaseModel):
    """Contents of `ensemble.json`."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    manta_version: str = __version__
    classes: list[str]
    members: list[MemberEntry]
    combine: Literal["mean", "weighted", "vote"] = "mean"
    vote: Literal["hard", "soft"] | None = None
    """How `vote` counts; null for the others."""
    views: str = "none"
    """The views that are averaged unless a request chooses others."""
    allowed_views: list[str] = ["none"]
    """What a request may choose."""
    temperature: float = 1.0
    """Of the ensemble as a whole: its probabilities are calibrated as if logits were divided by it."""
    cascade: CascadeEntry | None = None
    measured: dict[str, Any] = {}
    """Accuracies with counts, on images that nothing was fitted to."""
    dataset: dict[str, str] = {}
    gate: GateFacts | None = None
    baseline: Baseline | None = None
    """What an endpoint holds its answers against; ensembles of older versions have none."""
    sha256: dict[str, str] = {}
    """Of every file beside the members'."""


@dataclass(frozen=True)
class EnsembleContent:
    """What goes into an ensemble's folder; `bundles` are copied in, in the order of the members."""

    bundles: Sequence[Bundle]
    members: Sequence[MemberEntry]
    """Their `path` and `sha256` are filled in when they are copied."""
    manifest: EnsembleManifest
    """Without members and checksums."""
    golden: Golden
    config_yaml: str
    card: str
    write_report: Callable[[Path], object] = field(repr=False)


@dataclass(frozen=True)
class Folder:
    """An ensemble or a bundle on disk, its files checked against their checksums."""

    path: Path
    manifest: EnsembleManifest
    bundles: tuple[Bundle, ...]
    version: str
    """Twelve hexadecimal digits that change with any file."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by index."""
        return self.manifest.classes

    @property
    def preprocess(self) -> PreprocessSpec:
        """How a picture becomes the input of the member that is asked first."""
        cascade = self.manifest.cascade
        return self.bundles[cascade.order[0] if cascade else 0].preprocess

    @property
    def name(self) -> str:
        """Name of the model: its folder's, or that of the run in which a bundle lies."""
        return name_of(self.path)

    @property
    def arch(self) -> str:
        """Names of the networks."""
        return " + ".join(bundle.arch for bundle in self.bundles)

    def golden(self) -> Golden:
        """Read the golden picture and the probabilities that all members together gave it."""
        return _read_golden(self.path)


def name_of(path: Path) -> str:
    """Return the name of the model in a folder: the folder's, or that of the run in which a bundle lies."""
    path = path.resolve()
    return path.parent.name if path.name in ("bundle", "ensemble") else path.name


def write_ensemble(path: Path, content: EnsembleContent) -> Folder:
    """Write an ensemble's folder, complete or not at all.

    Raises `UserError` if the folder exists.
    """
    if path.exists():
        raise UserError(f"out={path} exists", "choose another out=, or remove it first")
    make_folder(path.parent)
    folder = make_partial(path)
    try:
        members = []
        for number, (bundle, entry) in enumerate(zip(content.bundles, content.members, strict=True)):
            place = f"members/{number}-{_plain(bundle.arch)}"
            shutil.copytree(bundle.path, folder / place)
            found = {"path": place, "sha256": _sha256(folder / place / BUNDLE_MANIFEST)}
            members.append(entry.model_copy(update=found))
        _write_golden(folder / "golden", content.golden)
        (folder / "config.yaml").write_text(content.config_yaml, encoding="utf-8")
        (folder / "README.md").write_text(content.card, encoding="utf-8")
        content.write_report(folder / "report")
        _write_manifest(folder, content.manifest.model_copy(update={"members": members}))
        folder.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return read_folder(path)


def release(folder: Folder, path: Path, facts: GateFacts, section: str) -> Path:
    """Copy a bundle or an ensemble that has passed a gate, with the verdict, and return where it is.

    `section` is appended to the model card. Raises `UserError` if the folder exists.
    """

    def append(copy: Path) -> dict[str, BaseModel]:
        with (copy / "README.md").open("a", encoding="utf-8") as card:
            card.write(section)
        return {"gate": facts}

    if (folder.path / BUNDLE_MANIFEST).is_file():
        return extend_bundle(folder.bundles[0], path, append).path
    if path.exists():
        raise UserError(f"the ensemble {path} exists", "choose another out=, or remove it first")
    make_folder(path.parent)
    copy = make_partial(path)
    try:
        shutil.copytree(folder.path, copy, dirs_exist_ok=True)
        _write_manifest(copy, folder.manifest.model_copy(update=append(copy)))
        copy.rename(path)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return path


def _write_manifest(folder: Path, manifest: EnsembleManifest) -> None:
    """Write `ensemble.json` with the checksums of what lies beside the members."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p != folder / MANIFEST]
    own = [p for p in files if not p.is_relative_to(folder / "members")]
    sha256 = {p.relative_to(folder).as_posix(): _sha256(p) for p in own}
    text = _to_json(manifest.model_copy(update={"sha256": sha256}), indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _to_json(manifest: EnsembleManifest, indent: int | None = None) -> str:
    # As in a bundle: what an ensemble lacks is not named.
    absent = {name for name in ("gate", "baseline") if getattr(manifest, name) is None}
    return manifest.model_dump_json(indent=indent, exclude=absent)


def read_folder(path: Path) -> Folder:
    """Open the folder of an ensemble, or of a bundle, and check every file against its checksum.

    Raises `UserError` if it is neither, has an unknown format, or a file is missing or has changed.
    """
    if (path / BUNDLE_MANIFEST).is_file():
        return folder_of([read_bundle(path)], path)
    if not (path / MANIFEST).is_file():
        what = f"it has neither {BUNDLE_MANIFEST} nor {MANIFEST}" if path.exists() else "no such folder"
        hint = "a run keeps its bundle in RUN/bundle; jobs/ensemble.py writes ensembles"
        raise UserError(f"{path} is not a bundle or an ensemble: {what}", hint)
    manifest = read_model(path / MANIFEST, EnsembleManifest, _RESTORE)
    checksums = {f"{entry.path}/{BUNDLE_MANIFEST}": entry.sha256 for entry in manifest.members}
    for name, expected in {**checksums, **manifest.sha256}.items():
        if not (path / name).is_file():
            raise UserError(f"the ensemble {path} lacks {name}", _RESTORE)
        if _sha256(path / name) != expected:
            raise UserError(f"{path / name} has changed since the ensemble was written", _RESTORE)
    bundles = tuple(read_bundle(path / entry.path) for entry in manifest.members)
    version = hashlib.sha256(_to_json(manifest).encode()).hexdigest()[:12]
    return Folder(path, manifest, bundles, version)


def folder_of(bundles: Sequence[Bundle], path: Path, classes: list[str] | None = None) -> Folder:
    """Return the plain mean of bundles, with the classes of the first; one bundle is an ensemble of one."""
    members = [
        MemberEntry(path=str(b.path), sha256="", weight=1.0, cost=0.0, temperature=b.manifest.temperature)
        for b in bundles
    ]
    # The answers of several together were not measured, and what one has passed is of no account for them.
    one = bundles[0].manifest if len(bundles) == 1 else None
    manifest = EnsembleManifest(
        classes=classes or bundles[0].classes,
        members=members,
        baseline=None if one is None else one.baseline,
        gate=None if one is None else one.gate,
    )
    return Folder(path, manifest, tuple(bundles), bundles[0].version)


def _write_golden(folder: Path, golden: Golden) -> None:
    folder.mkdir()
    (folder / "image").write_bytes(golden.data)
    expected = {"image": "image", "probabilities": [float(p) for p in golden.probabilities]}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def _read_golden(path: Path) -> Golden:
    expected = json.loads((path / "golden/expected.json").read_text())
    probabilities = np.array(expected["probabilities"], dtype=np.float32)
    return Golden((path / "golden" / expected["image"]).read_bytes(), probabilities)


def _plain(name: str) -> str:
    """Make the name of a network, which may be `timm:x` or `package.module:function`, fit for a folder."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
