import json
import re
import shutil
from pathlib import Path

import pytest

from tests.jobs.conftest import Run
from tests.lib.data.tars import write_tar


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


def test_resizing_says_what_it_saved(job: Run, photos: Path) -> None:
    ended = job("pack", f"source=imagefolder:{photos}", "out=dataset", "resize=64")
    assert re.search(r"  resized  24 of 24 images; 1\.\d MB -> \d+ kB \(\d+ %\)\n", ended.out)


# Shards of somebody else


@pytest.fixture
def shards(tmp_path: Path, photos: Path) -> Path:
    """The photos in two shards, with the names of their classes."""
    pictures = sorted(photos.rglob("*.jpg"))
    for number in range(2):
        files = []
        for n, path in enumerate(pictures[number::2]):
            files += [(f"{n:03d}.jpg", path.read_bytes()), (f"{n:03d}.txt", path.parent.name.encode())]
        write_tar(tmp_path / f"theirs/s-{number}.tar", files)
    return tmp_path / "theirs"


def test_shards_are_indexed_in_place(job: Run, shards: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in shards.iterdir()}
    ended = job("pack", "source=shards:theirs/s-{0..1}.tar", "out=dataset")
    assert ended.code == 0
    assert "2 shards" in ended.out
    assert ended.out.endswith(f"python jobs/finetune.py data.root={tmp_path / 'dataset'}\n")
    manifest = json.loads((tmp_path / "dataset/dataset.json").read_text())
    assert manifest["classes"] == ["disc", "stripes"]
    assert {name: split["num_samples"] for name, split in manifest["splits"].items()} == {
        "train": 20,
        "val": 2,
        "test": 2,
    }
    assert not list((tmp_path / "dataset").rglob("*.tar"))
    assert {path: path.read_bytes() for path in shards.iterdir()} == before


def test_a_dry_run_shows_the_shards(job: Run, shards: Path, tmp_path: Path) -> None:
    ended = job("pack", f"source=shards:{shards}/*.tar", "out=dataset", "--dry-run")
    assert ended.code == 0
    assert "2 shards, " in ended.out
    assert "drawn     val 10 %, test 10 % of each class of train" in ended.out
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["source=shards:theirs/x-*.tar"], "no such shards"),
        (["source=shards:theirs/*.tar", "resize=64"], "resize cannot be used with source=shards:"),
        (["source=shards:theirs/*.tar", "shard_size_mb=1"], "shard_size_mb cannot be used"),
        (["source=shards:theirs/*.tar", "shards.label=text"], "must be one of auto, cls, txt, json"),
        (["source=shards:theirs/*.tar", "shards.label=cls"], "no label: it has jpg, txt and no cls"),
        (["source=shards:theirs/*.tar", "shards.classes=nowhere"], "no such file"),
        (["source=digits", "shards.label=txt"], "need source=shards:GLOB"),
    ],
)
def test_what_cannot_be_indexed_is_a_sentence(
    job: Run, shards: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    ended = job("pack", *words, "out=dataset")
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert sentence in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "dataset").exists()


def test_a_damaged_shard_is_named(job: Run, shards: Path) -> None:
    content = bytearray((shards / "s-1.tar").read_bytes())
    # The second header of the shard.
    content[512 + -(-int(content[124:135], 8) // 512) * 512] ^= 1
    (shards / "s-1.tar").write_bytes(content)
    ended = job("pack", "source=shards:theirs/*.tar", "out=dataset")
    assert ended.code == 2
    assert "1 of 2 shards cannot be used" in ended.err
    assert "s-1.tar: the header at byte" in ended.err


# Check


@pytest.fixture
def packed(job: Run, photos: Path, tmp_path: Path) -> Path:
    """The photos, packed in several shards."""
    words = ["out=dataset", "split.val=0.25", "split.test=0", "shard_size_mb=0.1"]
    assert job("pack", f"source=imagefolder:{photos}", *words).code == 0
    return tmp_path / "dataset"


def test_a_check_ends_with_the_next_command(job: Run, packed: Path) -> None:
    ended = job("pack", "check", "dataset")
    assert ended.code == 0
    assert "formats" in ended.out
    assert ended.out.endswith(
        "\nchecked\n"
        "  images    train 18, val 6\n"
        f"  shards    {len(list(packed.rglob('*.tar')))}, 1.4 MB\n"
        "  problems  0\n"
        f"  next      python jobs/finetune.py data.root={packed}\n"
    )
    assert job("pack", "check", "root=dataset", "decode=true").code == 0


def test_a_check_that_finds_something_fails_and_names_it(job: Run, packed: Path) -> None:
    next(packed.glob("train/*.tar")).unlink()
    ended = job("pack", "check", str(packed))
    assert ended.code == 1
    assert "shards that cannot be read: 1\n  train/train-00000" in ended.out
    assert ended.err.startswith(f"error: {packed}: problems 1\n  restore")
    assert "checked" not in ended.out


def test_leakage_is_a_warning(job: Run, photos: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(photos, photos.parent / "parts" / split)
    ended = job("pack", "source=imagefolder:parts", "out=leaky", "split.test=0")
    assert "  warning  24 images are in more than one split; python jobs/pack.py check " in ended.out
    ended = job("pack", "check", "leaky")
    assert ended.code == 0
    assert (
        "warning: 24 pictures are in more than one split (24 images of train, 24 images of val)" in ended.out
    )


def test_a_dry_run_of_a_check_reads_no_shard(job: Run, packed: Path) -> None:
    next(packed.glob("train/*.tar")).unlink()
    ended = job("pack", "check", "dataset", "--dry-run")
    assert ended.code == 0
    assert ended.out.endswith(", 1.4 MB\n")
    assert "decode: false" in ended.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "photos"], "it has no dataset.json"),
        (["check", "nowhere"], "no such folder"),
        (["check"], "root: required"),
        (["check", "dataset", "decod=true"], "did you mean decode"),
        (["check", "one", "two"], "two: neither a preset (.yaml) nor key=value"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_what_cannot_be_checked_is_a_sentence(job: Run, words: list[str], sentence: str) -> None:
    ended = job("pack", *words)
    assert ended.code == 2
    assert sentence in ended.err


def test_help_mentions_the_check(job: Run) -> None:
    assert "check DATASET" in job("pack", "--help").out
    assert "  decode" in job("pack", "check", "--help").out
