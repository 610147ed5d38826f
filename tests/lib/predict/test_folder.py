import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.bundle import read_bundle
from lib.errors import UserError
from lib.predict.folder import read_folder


def test_the_folder_is_complete_and_says_what_the_contract_names(
    ensemble_path: Path, reversed_bundle: Path, large_bundle: Path, digits_bundle: Path
) -> None:
    values = json.loads((ensemble_path / "ensemble.json").read_text())
    assert {"format", "members", "combine", "views", "temperature", "cascade", "measured"} <= set(values)
    assert [set(member) >= {"path", "sha256", "weight", "cost"} for member in values["members"]] == [True] * 2
    assert {"order", "thresholds", "max_accuracy_drop", "expected_mean_members"} <= set(values["cascade"])
    assert values["format"] == 1
    folder = read_folder(ensemble_path)
    for bundle, source in zip(folder.bundles, (reversed_bundle, large_bundle), strict=True):
        assert bundle.path.is_relative_to(ensemble_path)
        assert bundle.version == read_bundle(source).version
    assert folder.classes == read_bundle(digits_bundle).classes
    assert folder.name == "pair"
    assert (ensemble_path / "report/index.html").is_file()
    assert not list(ensemble_path.parent.glob(".*"))


def test_a_bundle_is_an_ensemble_of_one(digits_bundle: Path) -> None:
    folder, bundle = read_folder(digits_bundle), read_bundle(digits_bundle)
    assert (folder.name, folder.version, folder.classes) == (bundle.name, bundle.version, bundle.classes)
    assert folder.manifest.cascade is None


def change(**values: object) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        manifest = json.loads((folder / "ensemble.json").read_text())
        (folder / "ensemble.json").write_text(json.dumps(manifest | values))

    return harm


def spoil(name: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        path = next(folder.glob(name))
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.write_bytes(bytes(data))

    return harm


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (change(format=2), "has format 2; this version reads format 1"),
        (change(classes=None), "is damaged: classes"),
        (change(combine="median"), "is damaged: combine"),
        (spoil("members/0-*/bundle.json"), "bundle.json has changed since the ensemble was written"),
        (
            spoil("members/1-*/model.safetensors"),
            "model.safetensors has changed since the bundle was written",
        ),
        (spoil("golden/image"), "golden/image has changed since the ensemble was written"),
        (lambda folder: shutil.rmtree(folder / "members/1-resnet8"), "lacks members/1-resnet8/bundle.json"),
        (lambda folder: (folder / "golden/expected.json").unlink(), "lacks golden/expected.json"),
        (lambda folder: (folder / "ensemble.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "ensemble.json").unlink(), "neither bundle.json nor ensemble.json"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_what_is_wrong_with_an_ensemble_is_said(
    ensemble_path: Path, tmp_path: Path, harm: Callable[[Path], None], sentence: str
) -> None:
    folder = tmp_path / "pair"
    shutil.copytree(ensemble_path, folder)
    harm(folder)
    with pytest.raises(UserError, match=sentence):
        read_folder(folder)


def test_the_version_changes_with_any_member(ensemble_path: Path, tmp_path: Path) -> None:
    shutil.copytree(ensemble_path, tmp_path / "pair")
    before = read_folder(tmp_path / "pair").version
    change(temperature=2.0)(tmp_path / "pair")
    assert read_folder(tmp_path / "pair").version != before == read_folder(ensemble_path).version
