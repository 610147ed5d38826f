import json
from pathlib import Path

import pytest

from tests.jobs.conftest import Run


def test_packing_ends_with_the_next_command(job: Run, photos: Path, tmp_path: Path) -> None:
    ended = job("pack", f"source=imagefolder:{photos}", "out=dataset", "split.val=0.25", "split.test=0.25")
    assert ended.code == 0
    assert ended.out.endswith(f"python jobs/finetune.py data.root={tmp_path / 'dataset'}\n")
    manifest = json.loads((tmp_path / "dataset/dataset.json").read_text())
    assert {name: split["num_samples"] for name, split in manifest["splits"].items()} == {
        "train": 12,
        "val": 6,
        "test": 6,
    }


def test_a_dry_run_writes_nothing(job: Run, photos: Path, tmp_path: Path) -> None:
    ended = job("pack", f"source=imagefolder:{photos}", "out=dataset", "--dry-run")
    assert ended.code == 0
    assert "24 images, 2 classes" in ended.out
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["source=imagefolder:nowhere"], "no such folder"),
        (["source=imagefolder:empty"], "no class folders"),
        (["source=csv:nowhere.csv"], "no such file"),
        (["source=csv:table.csv", "csv.image_column=picture"], "its columns are file, label"),
        (["source=csv:table.csv", "csv.image_column=file"], "1 images do not exist"),
        (["source=digit"], "digits"),
        (["source=digits", "sed=1"], "did you mean seed"),
        (["source=digits", "split.val=0.6", "split.test=0.4"], "leave nothing to train on"),
        ([], "source: required"),
    ],
)
def test_what_cannot_be_packed_is_a_sentence(
    job: Run, tmp_path: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("file,label\nmissing.png,cat\n")
    ended = job("pack", *words, "out=dataset")
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert sentence in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "dataset").exists()


def test_a_class_with_one_image_says_what_to_do(job: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "lonely").mkdir()
    (photos / "disc/000.jpg").rename(photos / "lonely/000.jpg")
    ended = job("pack", f"source=imagefolder:{photos}", "out=dataset")
    assert ended.code == 2
    assert "at least 3 images, for train and val and test; too few of: lonely (1)" in ended.err
    assert "split.val=0" in ended.err


def test_an_existing_folder_is_kept(job: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/mine").touch()
    ended = job("pack", f"source=imagefolder:{photos}", "out=dataset")
    assert ended.code == 2
    assert "exists" in ended.err
    assert (tmp_path / "dataset/mine").exists()


def test_unreadable_images_are_named(job: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "disc/000.jpg").write_bytes(b"<html>")
    ended = job("pack", f"source=imagefolder:{photos}", "out=dataset")
    assert ended.code == 2
    assert "disc/000: not an image" in ended.err
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]
    ended = job("pack", f"source=imagefolder:{photos}", "out=dataset", "max_bad_fraction=0.1")
    assert ended.code == 0
    assert "left out" in ended.out
    assert "disc/000" in (tmp_path / "dataset/quarantine.jsonl").read_text()
