import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from lib.config.packing import PackConfig
from lib.data.dataset import Dataset, open_dataset
from lib.data.index import checksum
from lib.data.pack import Packed, pack, plan_pack, runner
from lib.errors import RunError, UserError

Picture = Callable[..., bytes]
Folder = Callable[..., Path]
PackUp = Callable[..., Packed]

# Webdataset leaves its files to the garbage collector.
UNCLOSED = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def _files(root: Path) -> dict[str, str]:
    """Checksum of every file below a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _classes(picture: Picture, names: tuple[str, ...] = ("cat", "dog"), images: int = 10) -> dict[str, bytes]:
    return {f"{name}/{n:03d}.png": picture(n) for name in names for n in range(images)}


# The digits, end to end


def test_digits_are_complete(dataset: Dataset) -> None:
    manifest = dataset.manifest
    assert list(manifest.splits) == ["train", "val", "test"]
    assert [split.num_samples for split in manifest.splits.values()] == [1439, 179, 179]
    assert sum(len(split.shards) for split in manifest.splits.values()) > 4
    assert manifest.classes == [str(n) for n in range(10)]
    assert manifest.channels == 1
    keys = [key for name in manifest.splits for key in _keys(dataset, name)]
    assert sorted(keys) == [f"{n:05d}" for n in range(1797)]


def _keys(dataset: Dataset, split: str) -> list[str]:
    samples = dataset.samples(split)
    return samples.keys(range(len(samples)))


def test_the_folder_is_as_the_contract_says(dataset: Dataset) -> None:
    assert sorted(path.name for path in Path(dataset.root).iterdir()) == [
        "dataset.json",
        "test",
        "train",
        "val",
    ]
    assert Path(dataset.root).stat().st_mode & 0o777 == 0o755
    values = json.loads((Path(dataset.root) / "dataset.json").read_text())
    assert {"format", "classes", "splits", "source", "digest"} <= values.keys()
    for name, split in values["splits"].items():
        assert split["num_samples"] == sum(shard["num_samples"] for shard in split["shards"])
        for number, shard in enumerate(split["shards"]):
            assert shard.keys() == {"path", "num_samples", "size_bytes", "sha256"}
            assert shard["path"] == f"{name}/{name}-{number:06d}.tar"
            content = (Path(dataset.root) / shard["path"]).read_bytes()
            assert shard["size_bytes"] == len(content)
            assert shard["sha256"] == hashlib.sha256(content).hexdigest()


def test_offsets_of_the_index_point_at_the_pictures(dataset: Dataset) -> None:
    for name, split in dataset.manifest.splits.items():
        shards = [(Path(dataset.root) / shard.path).read_bytes() for shard in split.shards]
        for row in pq.read_table(Path(dataset.root) / name / "index.parquet").to_pylist():
            data = shards[row["shard"]][row["offset"] : row["offset"] + row["size_bytes"]]
            assert Image.open(io.BytesIO(data)).size == (row["width"], row["height"])
            assert checksum(data) == row["checksum"]


@UNCLOSED
def test_an_independent_pipeline_reads_the_same(dataset: Dataset) -> None:
    samples = dataset.samples("val")
    urls = [str(Path(dataset.root) / shard.path) for shard in dataset.manifest.splits["val"].shards]
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False).decode("l8"))
    assert [sample["__key__"] for sample in theirs] == _keys(dataset, "val")
    assert [sample["cls"] for sample in theirs] == samples.labels().tolist()
    for sample_id, sample in enumerate(theirs):
        ours = np.asarray(Image.open(io.BytesIO(samples.read(sample_id))))
        assert np.array_equal(ours, sample["png"])


def test_packing_twice_gives_the_same_bytes(pack_up: PackUp) -> None:
    first, second = (pack_up("digits", out, shard_size_mb=1.2) for out in ("first", "second"))
    assert _files(first.root) == _files(second.root)
    assert first.manifest.digest == second.manifest.digest


def test_another_seed_gives_another_dataset(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    source = f"imagefolder:{folder(_classes(picture))}"
    assert pack_up(source, "a").manifest.digest != pack_up(source, "b", seed=1).manifest.digest


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_ray_tasks_write_the_same_bytes(dataset: Dataset, tmp_path: Path) -> None:
    config = PackConfig(source="digits", out=str(tmp_path / "ray"), shard_size_mb=1.2, num_workers=2)
    plan = plan_pack(config)
    packed = pack(config, plan, runner(config, plan))
    assert _files(packed.root) == _files(Path(dataset.root))


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_ray_tasks_read_files_and_report_bad_ones(picture: Picture, folder: Folder, tmp_path: Path) -> None:
    root = folder({**_classes(picture), "cat/bad.jpg": b"<html>", "dog/Ü.jpg": picture(1, "JPEG")})
    packed = []
    for workers in (0, 2):
        values = {
            "source": f"imagefolder:{root}",
            "out": str(tmp_path / f"{workers}"),
            "num_workers": workers,
        }
        config = PackConfig(**values, shard_size_mb=0.01, max_bad_fraction=0.1)
        plan = plan_pack(config)
        packed.append(pack(config, plan, runner(config, plan)))
    assert _files(packed[0].root) == _files(packed[1].root)
    assert [item.key for item in packed[1].bad] == ["cat/bad"]


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_a_ray_task_that_fails_leaves_nothing_behind(
    picture: Picture, folder: Folder, tmp_path: Path
) -> None:
    root = folder(_classes(picture, images=30))
    config = PackConfig(
        source=f"imagefolder:{root}", out=str(tmp_path / "out/dataset"), num_workers=2, shard_size_mb=0.01
    )
    plan = plan_pack(config)
    assert len(plan.shards) > 4
    plan.shards[2].items[0] = len(plan.source.items)
    with pytest.raises(IndexError, match="out of bounds"):
        pack(config, plan, runner(config, plan))
    assert list((tmp_path / "out").iterdir()) == []


def test_small_sources_are_packed_in_this_process(tmp_path: Path) -> None:
    config = PackConfig(source="digits", out=str(tmp_path / "dataset"))
    assert runner(config, plan_pack(config)) is map


# What may be wrong


def test_what_exists_is_not_overwritten(pack_up: PackUp, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    with pytest.raises(UserError, match="exists") as caught:
        pack_up("digits")
    assert "choose another out=" in caught.value.hint
    assert list((tmp_path / "dataset").iterdir()) == []


def test_a_target_that_cannot_be_written(tmp_path: Path, pack_up: PackUp) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create the folder"):
        pack_up("digits", "file/dataset")


def test_a_full_disk_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    config = PackConfig(source="digits", out=str(tmp_path / "out/dataset"))

    def full(_write: Callable[..., object], _plans: list[object]) -> Iterator[object]:
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"cannot be written: .*No space left on device"):
        pack(config, plan_pack(config), full)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_packing_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    config = PackConfig(source="digits", out=str(tmp_path / "out/dataset"), shard_size_mb=1.2)
    plan = plan_pack(config)

    def interrupted(write: Callable[..., object], plans: list[object]) -> Iterator[object]:
        yield write(plans[0])
        assert list((tmp_path / "out").rglob("*.tar"))
        raise error

    with pytest.raises(error):
        pack(config, plan, interrupted)
    assert list((tmp_path / "out").iterdir()) == []
    assert pack(config, plan, map).root.is_dir()


def test_unreadable_images_below_the_limit(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    root = folder({**_classes(picture, images=20), "cat/html.jpg": b"<html>", "dog/é.png": b""})
    packed = pack_up(f"imagefolder:{root}", max_bad_fraction=0.05)
    lines = [json.loads(line) for line in (packed.root / "quarantine.jsonl").read_text().splitlines()]
    assert sorted(line["key"] for line in lines) == ["cat/html", "dog/é"]
    assert {line["key"]: line["reason"] for line in lines}["dog/é"] == "the image is empty (0 bytes)"
    assert sum(split.num_samples for split in packed.manifest.splits.values()) == 40
    dataset = open_dataset(str(packed.root))
    for name in packed.manifest.splits:
        assert not {"cat/html", "dog/é"} & set(_keys(dataset, name))


def test_too_many_unreadable_images(
    pack_up: PackUp, picture: Picture, folder: Folder, tmp_path: Path
) -> None:
    root = folder({**_classes(picture), **{f"cat/bad{n}.jpg": b"<html>" for n in range(12)}})
    with pytest.raises(UserError) as caught:
        pack_up(f"imagefolder:{root}", max_bad_fraction=0.3)
    assert caught.value.problem == "12 of 32 images cannot be used; max_bad_fraction=0.3 allows 9"
    lines = caught.value.hint.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("cat/bad")
    assert lines[10] == "…"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_a_split_without_a_readable_image(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    files = {f"train/{name}/{n}.png": picture(n) for name in ("cat", "dog") for n in range(5)}
    root = folder({**files, "val/cat/a.jpg": b"-", "test/cat/a.png": picture()})
    with pytest.raises(UserError, match="no readable images are left in split val") as caught:
        pack_up(f"imagefolder:{root}", max_bad_fraction=0.5)
    assert caught.value.hint.startswith("val/cat/a: not an image")


def test_a_class_with_one_image(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    root = folder({**_classes(picture), "emu/a.png": picture()})
    with pytest.raises(UserError, match=r"too few of: emu \(1\)"):
        pack_up(f"imagefolder:{root}")
    packed = pack_up(f"imagefolder:{root}", split={"val": 0, "test": 0})
    assert list(packed.manifest.splits) == ["train"]
    assert sorted(path.name for path in packed.root.iterdir()) == ["dataset.json", "train"]


# Sources


def test_a_folder_of_splits_keeps_them(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    files = {
        f"{split}/{name}/{n}.png": picture(n)
        for split in ("train", "valid", "test")
        for name in ("cat", "dog")
        for n in range(3)
    }
    packed = pack_up(f"imagefolder:{folder(files)}")
    dataset = open_dataset(str(packed.root))
    assert packed.manifest.classes == ["cat", "dog"]
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        keys = _keys(dataset, split)
        assert sorted(keys) == [f"{name}/{label}/{n}" for label in ("cat", "dog") for n in range(3)]
        labels = dataset.samples(split).labels().tolist()
        assert [key.split("/")[1] for key in keys] == [dataset.classes[label] for label in labels]


@UNCLOSED
def test_names_of_every_kind(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    names = ["a.jpg", "a.png", "a_2.png", "v1.0.final.png", "ß 猫.png", "n" * 200 + ".png", "x.bmp", "y.tif"]
    kinds = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".tif": "TIFF"}
    files = {
        f"{label}/{name}": picture(n, kinds[Path(name).suffix])
        for label in ("10", "2", "né & co")
        for n, name in enumerate(names)
    }
    packed = pack_up(f"imagefolder:{folder(files)}", split={"val": 0, "test": 0})
    assert packed.manifest.classes == ["10", "2", "né & co"]
    samples = open_dataset(str(packed.root)).samples("train")
    keys = samples.keys(range(len(samples)))
    assert len(set(keys)) == 24
    by_key = {key: samples.read(n) for n, key in enumerate(keys)}
    for label in packed.manifest.classes:
        assert by_key[f"{label}/a"] == picture(0, "JPEG")
        assert by_key[f"{label}/v1_0_final"] == picture(3)
        for name, seed in (("x", 6), ("y", 7)):
            stored = Image.open(io.BytesIO(by_key[f"{label}/{name}"]))
            expected = Image.open(io.BytesIO(picture(seed)))
            assert stored.format == "PNG"
            assert np.array_equal(np.asarray(stored), np.asarray(expected))
    urls = [str(packed.root / shard.path) for shard in packed.manifest.splits["train"].shards]
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in theirs] == keys
    assert packed.manifest.channels == 3


def test_resizing(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    files = {f"{name}/{n}.jpg": picture(n, "JPEG", (60, 40)) for name in ("cat", "dog") for n in range(3)}
    packed = pack_up(f"imagefolder:{folder(files)}", resize=20)
    table = pq.read_table(packed.root / "train/index.parquet")
    assert set(table["width"].to_pylist()) == {30}
    assert set(table["height"].to_pylist()) == {20}


def test_what_resizing_saved(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    files = {f"{name}/{n}.jpg": picture(n, "JPEG", (200, 150)) for name in ("cat", "dog") for n in range(3)}
    files |= {f"{name}/small.png": picture(9 + n) for n, name in enumerate(("cat", "dog"))}
    packed = pack_up(f"imagefolder:{folder(files)}", resize=20, split={"val": 0, "test": 0})
    assert packed.resized == 6
    assert packed.source_bytes == sum(map(len, files.values()))
    table = pq.read_table(packed.root / "train/index.parquet")
    assert packed.stored_bytes == sum(table["size_bytes"].to_pylist()) < packed.source_bytes
    before, after = f"{packed.source_bytes / 1e3:.0f} kB", f"{packed.stored_bytes / 1e3:.0f} kB"
    percent = f"{100 * packed.stored_bytes / packed.source_bytes:.0f} %"
    assert packed.remarks(20)["resized"] == f"6 of 8 images; {before} -> {after} ({percent})"
    assert packed.remarks(None) == {}


def test_leakage_is_counted_while_packing(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    files = {
        f"{split}/{name}/{n}.png": picture(n + 100 * (name == "dog") + 10 * (split == "val"))
        for split in ("train", "val", "test")
        for name in ("cat", "dog")
        for n in range(3)
    }
    root = folder(files)
    # test shows the six pictures of train
    packed = pack_up(f"imagefolder:{root}")
    assert packed.shared == 6
    assert packed.remarks(None)["warning"] == (
        f"6 images are in more than one split; python jobs/pack.py check {packed.root} lists them"
    )


def test_a_csv_with_splits(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    files = {f"{n}.png": picture(n) for n in range(6)}
    lines = [f"{n}.png,{'ab'[n % 2]},{('train', 'val', 'test')[n // 2]}" for n in range(6)]
    root = folder({**files, "t.csv": "\n".join(["image,label,part", *lines]).encode()})
    packed = pack_up(f"csv:{root / 't.csv'}", csv={"split_column": "part"})
    dataset = open_dataset(str(packed.root))
    assert {name: sorted(_keys(dataset, name)) for name in packed.manifest.splits} == {
        "train": ["0", "1"],
        "val": ["2", "3"],
        "test": ["4", "5"],
    }


def test_the_source_may_vanish_after_packing(pack_up: PackUp, picture: Picture, folder: Folder) -> None:
    root = folder(_classes(picture))
    packed = pack_up(f"imagefolder:{root}")
    shutil.rmtree(root)
    shutil.move(packed.root, packed.root.with_name("moved"))
    samples = open_dataset(str(packed.root.with_name("moved"))).samples("train")
    assert len([samples.read(n) for n in range(len(samples))]) == 16


def test_many_classes(pack_up: PackUp, folder: Folder, picture: Picture) -> None:
    lines = ["image,label", *(f"a.png,{label:05d}" for label in range(1000))]
    root = folder({"a.png": picture(size=(2, 2)), "t.csv": "\n".join(lines).encode()})
    packed = pack_up(f"csv:{root / 't.csv'}", split={"val": 0, "test": 0})
    samples = open_dataset(str(packed.root)).samples("train")
    assert sorted(samples.labels().tolist()) == list(range(1000))


def test_the_plan_reads_well(tmp_path: Path) -> None:
    config = PackConfig(source="digits", out=str(tmp_path / "dataset"), shard_size_mb=1)
    assert plan_pack(config).lines() == [
        "source    digits: 1,797 images, 10 classes",
        "train     1,439 images in 3 shards",
        "val       179 images in 1 shard",
        "test      179 images in 1 shard",
        f"dataset   {tmp_path / 'dataset'}",
    ]
