import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.bundle import BundleContent, Golden, read_bundle, write_bundle
from lib.errors import UserError
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from tests.conftest import encode


def content(arch: str = "lenet5", **kwargs: int) -> BundleContent:
    arch_kwargs = {"num_classes": 3, "channels": 1, "image_size": 28, **kwargs}
    picture = encode(np.zeros((28, 28), dtype=np.uint8))
    return BundleContent(
        model=build_model(arch, **arch_kwargs),
        arch=arch,
        arch_kwargs=arch_kwargs,
        classes=["a", "b", "ç/d"],
        preprocess=PreprocessSpec(28, 28, 1, mean=(0.5,), std=(0.5,)),
        metrics={"val": {"num_samples": 3, "accuracy": 1.0}},
        dataset={"digest": "d", "source": "s"},
        golden=Golden(picture, np.array([0.2, 0.3, 0.5], dtype=np.float32)),
        config_yaml="x: 1\n",
        card="# card\n",
        write_report=lambda folder: (folder.mkdir(), (folder / "index.html").write_text("<html>")),
    )


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = content()
    write_bundle(tmp_path / "bundle", written)
    bundle = read_bundle(tmp_path / "bundle")
    assert (bundle.arch, bundle.classes, bundle.preprocess) == ("lenet5", written.classes, written.preprocess)
    model = bundle.build_model()
    assert not model.training
    for name, tensor in written.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    golden = bundle.golden()
    assert golden.data == written.golden.data
    assert np.array_equal(golden.probabilities, written.golden.probabilities)


def test_the_folder_holds_what_the_contract_names_and_no_pickle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", content())
    names = {p.relative_to(tmp_path / "bundle").as_posix() for p in (tmp_path / "bundle").rglob("*")}
    assert {
        "bundle.json",
        "model.safetensors",
        "config.yaml",
        "golden",
        "report/index.html",
        "README.md",
    } <= names
    manifest = json.loads((tmp_path / "bundle/bundle.json").read_text())
    assert set(manifest) == {
        "format", "manta_version", "arch", "arch_kwargs", "classes", "preprocess", "temperature", "metrics",
        "dataset", "sha256",
    }  # fmt: skip
    assert set(manifest["sha256"]) == {n for n in names if (tmp_path / "bundle" / n).is_file()} - {
        "bundle.json"
    }
    assert not [n for n in names if n.endswith((".pt", ".pth", ".pkl"))]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_an_existing_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/mine.txt").write_text("keep")
    with pytest.raises(UserError, match="exists"):
        write_bundle(tmp_path / "bundle", content())
    assert (tmp_path / "bundle/mine.txt").read_text() == "keep"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError("disk")

    broken = content()
    object.__setattr__(broken, "write_report", fail)
    with pytest.raises(RuntimeError, match="disk"):
        write_bundle(tmp_path / "bundle", broken)
    assert list(tmp_path.iterdir()) == []


def damage_weights(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))


def raise_format(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(manifest | {"format": 7}))


def drop_classes(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    del manifest["classes"]
    (folder / "bundle.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (damage_weights, "model.safetensors has changed"),
        (raise_format, "format 7; this version reads format 1"),
        (drop_classes, "is damaged: classes"),
        (lambda folder: (folder / "golden/image").unlink(), "lacks golden/image"),
        (lambda folder: (folder / "bundle.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "bundle.json").unlink(), "it has no bundle.json"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_what_is_wrong_with_a_bundle_is_said(tmp_path: Path, harm: object, sentence: str) -> None:
    write_bundle(tmp_path / "bundle", content())
    harm(tmp_path / "bundle")  # type: ignore[operator]
    with pytest.raises(UserError, match=sentence):
        read_bundle(tmp_path / "bundle")


def test_the_version_changes_with_the_weights_and_the_name_comes_from_the_run(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "one/bundle", content())
    second = write_bundle(tmp_path / "two/bundle", content())
    assert first.version != second.version
    assert read_bundle(tmp_path / "one/bundle").version == first.version
    assert (first.name, second.name) == ("one", "two")


def test_a_network_that_needs_its_own_version_metadata_loads(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", content("mnasnet0_5", channels=1, image_size=64))
    read_bundle(tmp_path / "bundle").build_model()
