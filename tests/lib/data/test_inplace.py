import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lib.config.packing import CheckConfig, PackConfig
from lib.config.schema import FinetuneConfig
from lib.data.check import check, plan_check
from lib.data.dataset import Samples, open_dataset
from lib.data.index import SCHEMA
from lib.data.inplace import split_of
from lib.data.manifest import Manifest
from lib.data.pack import Packed, pack, plan_pack, runner
from lib.errors import UserError
from lib.train.launch import train
from lib.train.plan import plan_run
from lib.train.world import World
from tests.lib.data.servers import files_of, serve
from tests.lib.data.tars import write_tar

Picture = Callable[..., bytes]
PackUp = Callable[..., Packed]
File = tuple[str, bytes]


def _shard(path: Path, picture: Picture, labels: Sequence[object], kind: str = "cls", first: int = 0) -> Path:
    """Write a shard of small pictures, one for each label; pictures of different `first` differ."""
    files: list[File] = []
    for n, label in enumerate(labels):
        text = json.dumps({"label": label}) if kind == "json" else str(label)
        files += [(f"{n:03d}.png", picture(first + n)), (f"{n:03d}.{kind}", text.encode())]
    return write_tar(path, files)


def _samples(packed: Packed, split: str) -> Samples:
    return open_dataset(str(packed.root)).samples(split)


def _read(packed: Packed) -> dict[str, list[tuple[str, int, bytes]]]:
    """Key, label and bytes of every sample, by split, in order."""
    found = {}
    for split in packed.manifest.splits:
        samples = _samples(packed, split)
        ids = np.arange(len(samples))
        rows, keys = samples.rows(ids), samples.keys(ids)
        found[split] = [(keys[n], int(rows.label[n]), samples.read(n)) for n in range(len(ids))]
        samples.close()
    return found


NO_SPLITS = {"val": 0, "test": 0}


def test_a_dataset_is_an_index_and_no_picture(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    shards = [_shard(tmp_path / f"s-{n}.tar", picture, [0, 1, 1], first=10 * n) for n in range(2)]
    packed = pack_up(f"shards:{tmp_path}/s-*.tar", split=NO_SPLITS)
    files = sorted(str(path.relative_to(packed.root)) for path in packed.root.rglob("*") if path.is_file())
    assert files == ["dataset.json", "train/index.parquet"]
    (split,) = packed.manifest.splits.values()
    assert [shard.path for shard in split.shards] == list(map(str, shards))
    for shard, path in zip(split.shards, shards, strict=True):
        assert shard.num_samples == 3
        assert shard.size_bytes == path.stat().st_size
        assert shard.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert packed.manifest.source == f"shards:{tmp_path}/s-*.tar"
    assert packed.manifest.classes == ["0", "1"]
    assert _read(packed)["train"] == [
        (f"{n:03d}", label, picture(first + n)) for first in (0, 10) for n, label in enumerate([0, 1, 1])
    ]


def test_the_same_key_in_two_shards(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    for n in range(2):
        _shard(tmp_path / f"s-{n}.tar", picture, [n], first=n)
    packed = pack_up(f"shards:{tmp_path}/s-*.tar", split=NO_SPLITS)
    assert _read(packed)["train"] == [("000", 0, picture(0)), ("000", 1, picture(1))]


# Labels


@pytest.mark.parametrize("kind", ["txt", "json"])
def test_names_as_labels(tmp_path: Path, picture: Picture, pack_up: PackUp, kind: str) -> None:
    _shard(tmp_path / "s.tar", picture, ["sea lion", "cat", "sea lion"], kind)
    packed = pack_up(f"shards:{tmp_path}/s.tar", split=NO_SPLITS)
    assert packed.manifest.classes == ["cat", "sea lion"]
    assert [label for _, label, _ in _read(packed)["train"]] == [1, 0, 1]


def test_classes_of_a_file_may_be_without_images(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    _shard(tmp_path / "s.tar", picture, [3] * 5 + [1] * 5)
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    packed = pack_up(f"shards:{tmp_path}/s.tar", shards={"classes": str(tmp_path / "names.txt")})
    assert packed.manifest.classes == ["a", "b", "c", "d"]
    for split in packed.manifest.splits:
        assert {label for _, label, _ in _read(packed)[split]} == {1, 3}


def test_another_choice_of_labels_is_another_dataset(
    tmp_path: Path, picture: Picture, pack_up: PackUp
) -> None:
    files = []
    for n in range(4):
        files += [(f"{n}.png", picture(n)), (f"{n}.cls", b"%d" % (n % 2)), (f"{n}.txt", b"%d" % (n // 2))]
    write_tar(tmp_path / "s.tar", files)
    by = {
        label: pack_up(f"shards:{tmp_path}/s.tar", label, split=NO_SPLITS, shards={"label": label})
        for label in ("cls", "txt")
    }
    assert [label for _, label, _ in _read(by["txt"])["train"]] == [0, 0, 1, 1]
    assert by["cls"].manifest.classes == by["txt"].manifest.classes
    assert by["cls"].manifest.digest != by["txt"].manifest.digest


def test_shards_that_keep_labels_in_different_places(
    tmp_path: Path, picture: Picture, pack_up: PackUp
) -> None:
    _shard(tmp_path / "a.tar", picture, [0, 1], "cls")
    _shard(tmp_path / "b.tar", picture, [0, 1], "txt")
    with pytest.raises(UserError, match=r"b\.tar has labels in txt; .*a\.tar has labels in cls") as caught:
        pack_up(f"shards:{tmp_path}/*.tar")
    assert "shards.label=" in caught.value.hint
    with pytest.raises(UserError, match="2 of 4 images cannot be used"):
        pack_up(f"shards:{tmp_path}/*.tar", shards={"label": "cls"})


# Splits


@pytest.mark.parametrize(
    ("location", "split"),
    [
        ("/data/train-000000.tar", "train"),
        ("/data/imagenet-val-000000.tar", "val"),
        ("/data/Validation_1.tar", "val"),
        ("/data/test/000000.tar", "test"),
        ("/data/valid/train-000000.tar", "train"),
        ("s3://bucket/train/0.tar?endpoint_override=localhost:9000/test", "train"),
        ("/data/training-0.tar", None),
        ("/data/test_folder/0.tar", None),
        ("/data/train-test-0.tar", None),
        ("/test/data/0.tar", None),
    ],
)
def test_shards_are_called_by_their_split(location: str, split: str | None) -> None:
    assert split_of(location) == split


def test_splits_by_name(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    for first, name in enumerate(("train-0", "train-1", "valid-0", "test-0")):
        _shard(tmp_path / f"{name}.tar", picture, [0, 1], first=10 * first)
    packed = pack_up(f"shards:{tmp_path}/*.tar")
    paths = {
        name: [Path(shard.path).name for shard in split.shards]
        for name, split in packed.manifest.splits.items()
    }
    assert paths == {"train": ["train-0.tar", "train-1.tar"], "val": ["valid-0.tar"], "test": ["test-0.tar"]}
    assert [data for _, _, data in _read(packed)["val"]] == [picture(20), picture(21)]


def test_what_names_leave_out_is_drawn(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    _shard(tmp_path / "train.tar", picture, [0, 1] * 5)
    _shard(tmp_path / "val.tar", picture, [0, 1], first=50)
    packed = pack_up(f"shards:{tmp_path}/*.tar", split={"test": 0.2})
    assert [split.num_samples for split in packed.manifest.splits.values()] == [8, 2, 2]
    assert [Path(split.shards[0].path).name for split in packed.manifest.splits.values()] == [
        "train.tar",
        "val.tar",
        "train.tar",
    ]


def test_drawn_splits_share_the_shards(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    labels = [0, 1, 1, 0, 0, 1, 0, 1, 1, 0]
    for n in range(3):
        _shard(tmp_path / f"s-{n}.tar", picture, labels, first=20 * n)
    packed = pack_up(f"shards:{tmp_path}/s-*.tar", split={"val": 0.2, "test": 0.2})
    found = _read(packed)
    everything = [picture(20 * n + m) for n in range(3) for m in range(10)]
    order = {data: n for n, data in enumerate(everything)}
    places = {split: [order[data] for _, _, data in rows] for split, rows in found.items()}
    assert sorted(n for split in places.values() for n in split) == list(range(30))
    for split, rows in found.items():
        # Ids are in the order of the tars.
        assert places[split] == sorted(places[split])
        assert [label for _, label, _ in rows] == [labels[n % 10] for n in places[split]]
    assert {split: len(rows) for split, rows in found.items()} == {"train": 18, "val": 6, "test": 6}
    for name, split in packed.manifest.splits.items():
        counts = [sum(n // 10 == shard for n in places[name]) for shard in range(3)]
        assert split.counts == [count for count in counts if count]


def test_another_draw_is_another_dataset(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    _shard(tmp_path / "s.tar", picture, [0, 1] * 10)
    words = f"shards:{tmp_path}/s.tar"
    first, again, other = (pack_up(words, f"{n}", seed=seed) for n, seed in enumerate((0, 0, 1)))
    # The shards are the same, what is made of them is not.
    assert _shards(first.manifest) == _shards(other.manifest)
    assert first.manifest.digest == again.manifest.digest != other.manifest.digest


def _shards(manifest: Manifest) -> dict[str, list[str]]:
    return {name: [shard.sha256 for shard in split.shards] for name, split in manifest.splits.items()}


def test_a_moved_dataset_has_the_same_digest(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    path = _shard(tmp_path / "a/s.tar", picture, [0, 1] * 10)
    first = pack_up(f"shards:{path}", "first")
    shutil.move(tmp_path / "a", tmp_path / "b")
    second = pack_up(f"shards:{tmp_path}/b/s.tar", "second")
    assert first.manifest.digest == second.manifest.digest


# What may be wrong


def test_all_damaged_shards_are_listed(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    for n in range(4):
        _shard(tmp_path / f"s-{n}.tar", picture, [0, 1] * 5, first=20 * n)
    for n in (1, 3):
        path = tmp_path / f"s-{n}.tar"
        path.write_bytes(path.read_bytes()[: 700 * n])
    with pytest.raises(UserError) as caught:
        pack_up(f"shards:{tmp_path}/s-*.tar", "out/dataset")
    assert caught.value.problem == "2 of 4 shards cannot be used"
    lines = caught.value.hint.splitlines()
    assert [line.partition(": ")[0] for line in lines[:2]] == [f"{tmp_path}/s-1.tar", f"{tmp_path}/s-3.tar"]
    assert lines[2] == "fetch or write them anew, or leave them out of source="
    assert list((tmp_path / "out").iterdir()) == []


def test_a_shard_without_an_end_is_a_warning(
    tmp_path: Path, picture: Picture, pack_up: PackUp, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _shard(tmp_path / "s.tar", picture, [0, 1])
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content + bytes(-len(content) % 512))
    pack_up(f"shards:{path}", split=NO_SPLITS)
    assert f"1 of 1 shards have no end marker, the first is {path}" in capsys.readouterr().out


def test_what_cannot_be_indexed_is_listed(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    (tmp_path / "names").write_text("a\nb\n")
    path = _shard(tmp_path / "s.tar", picture, [0, 1] * 5 + [2, "x"])
    words: dict[str, object] = {"split": NO_SPLITS, "shards": {"classes": str(tmp_path / "names")}}
    with pytest.raises(UserError) as caught:
        pack_up(f"shards:{path}", **words)
    assert caught.value.problem == "2 of 12 images cannot be used; max_bad_fraction=0.01 allows 0"
    packed = pack_up(f"shards:{path}", max_bad_fraction=0.2, **words)
    lines = [json.loads(line) for line in (packed.root / "quarantine.jsonl").read_text().splitlines()]
    assert lines == [
        {"key": "011", "reason": f"cls is not a whole number: 'x' ({path})"},
        {"key": "010", "reason": f"label 2 is out of range: there are 2 classes ({path})"},
    ]
    assert len(_read(packed)["train"]) == 10


def test_shards_of_nothing(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    write_tar(tmp_path / "empty.tar", [("README.md", b"-")])
    with pytest.raises(UserError, match="hold no samples"):
        pack_up(f"shards:{tmp_path}/empty.tar")
    _shard(tmp_path / "s.tar", picture, [0, 0, 0])
    with pytest.raises(UserError, match="have one class, '0'"):
        pack_up(f"shards:{tmp_path}/*.tar")
    write_tar(tmp_path / "bare.tar", [(f"{n}.png", picture(n)) for n in range(6)])
    with pytest.raises(UserError, match="6 of 6 images cannot be used"):
        pack_up(f"shards:{tmp_path}/bare.tar")


def test_a_named_split_without_a_sample(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    _shard(tmp_path / "train.tar", picture, [0, 1] * 5)
    write_tar(tmp_path / "val.tar", [("a.png", b""), ("a.cls", b"0")])
    with pytest.raises(UserError, match="no usable images are left in split val"):
        pack_up(f"shards:{tmp_path}/*.tar", max_bad_fraction=0.5)


def test_a_class_with_too_few_images(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    _shard(tmp_path / "s.tar", picture, [0] * 5 + [1])
    with pytest.raises(UserError, match=r"too few of: 1 \(1\)"):
        pack_up(f"shards:{tmp_path}/s.tar")


def test_a_check_holds_rows_and_labels_against_the_manifest(
    tmp_path: Path, picture: Picture, pack_up: PackUp
) -> None:
    for n in range(2):
        _shard(tmp_path / f"s-{n}.tar", picture, [0, 1] * 10, first=30 * n)
    packed = pack_up(f"shards:{tmp_path}/*.tar")

    def lines() -> list[str]:
        config = CheckConfig(root=str(packed.root))
        return check(config, plan_check(config), map).problems.lines()

    assert lines() == []
    path = packed.root / "val/index.parquet"
    table = pq.read_table(path)
    labels = pa.array([1 - label for label in table["label"].to_pylist()], pa.int32())
    pq.write_table(table.set_column(2, SCHEMA.field("label"), labels), path)
    (problem,) = [line for line in lines() if "val" in line]
    assert problem.endswith("val/index.parquet: dataset.json was made for other rows or labels")


# Patterns and plans


def _plan(source: str, tmp_path: Path, **config: object) -> list[str]:
    values = {"source": source, "out": str(tmp_path / "dataset"), **config}
    return plan_pack(PackConfig.model_validate(values)).lines()


def test_the_plan_reads_well(tmp_path: Path, picture: Picture) -> None:
    for name in ("train-000", "train-001", "val-000"):
        _shard(tmp_path / f"{name}.tar", picture, range(40))
    (tmp_path / "names").write_text("\n".join(map(str, range(40))))
    words = f"shards:{tmp_path}/train-{{000..001}}.tar::{tmp_path}/val-*.tar"
    assert _plan(words, tmp_path, shards={"classes": str(tmp_path / "names")}, split={"test": 0.05}) == [
        f"source    {words}: 3 shards, 276 kB, indexed in place",
        "train     2 shards, 184 kB",
        "val       1 shard, 92 kB",
        "drawn     test 5 % of each class of train",
        "classes   40, named by shards.classes",
        f"dataset   {tmp_path / 'dataset'}",
    ]
    assert _plan(f"shards:{tmp_path}/*-000.tar::{tmp_path}/{{val,train}}-000.tar", tmp_path)[0].endswith(
        ": 2 shards, 184 kB, indexed in place"
    )


def test_relative_patterns(tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    _shard(tmp_path / "here/set/s.tar", picture, [0])
    _shard(tmp_path / "home/other/s.tar", picture, [0])
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MANTA_HOME", str(tmp_path / "home"))
    for words in ("shards:set/*.tar", "shards:set/{s,s}.tar", "shards:other/s.tar"):
        config = PackConfig(source=words, out=str(tmp_path / "dataset"))
        (location,) = plan_pack(config).shards
        assert Path(str(location)).is_absolute()
        assert Path(str(location)).is_file()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("shards:", "source=shards:: no such shards"),
        ("shards:{root}/*.tar::", "source=shards:: no such shards"),
        ("shards:{root}/x-*.tar", "no such shards"),
        ("shards:{root}/x.tar", "does not exist"),
        ("shards:{root}/s-{{0..2}}.tar", "s-1.tar does not exist"),
        ("shards:http://127.0.0.1:1/*.tar", "does not list its files"),
        ("shards:http://me:secret@127.0.0.1:1/a.tar", "source=http://… holds a password"),
        ("shards:{root}/val-0.tar", "the names of the shards make all of them val"),
    ],
)
def test_patterns_that_cannot_be_used(tmp_path: Path, picture: Picture, words: str, problem: str) -> None:
    for name in ("s-0", "val-0"):
        _shard(tmp_path / f"{name}.tar", picture, [0, 1])
    with pytest.raises(UserError) as caught:
        _plan(words.format(root=tmp_path), tmp_path)
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


# Where they are used


def _digits(root: Path) -> Path:
    """Write the digits as somebody else would: names as labels, four shards."""
    digits = load_digits()
    for number in range(4):
        files: list[File] = []
        for n in range(number, len(digits.target), 4):
            stream = io.BytesIO()
            Image.fromarray((digits.images[n] * (255 / 16)).round().astype(np.uint8)).save(stream, "PNG")
            files += [(f"{n:05d}.PNG", stream.getvalue()), (f"{n:05d}.txt", b"digit %d" % digits.target[n])]
        write_tar(root / f"d-{number:03d}.tar", files, ["gnu", "pax", "ustar"][number % 3])
    return root


def test_training_on_shards_of_somebody_else(
    tmp_path: Path, pack_up: PackUp, finetune_config: Callable[..., FinetuneConfig]
) -> None:
    packed = pack_up(f"shards:{_digits(tmp_path)}/d-{{000..003}}.tar")
    assert packed.manifest.channels == 1
    assert packed.manifest.classes == [f"digit {n}" for n in range(10)]
    config = finetune_config(
        data__root=str(packed.root), train__epochs=2, train__batch_size=32, optim__lr=3e-3
    )
    measured = train(plan_run(config), World(), lambda _: None)["metrics"]["test"]
    assert measured["num_samples"] == sum(packed.manifest.splits["test"].counts)
    assert measured["accuracy"] > 0.5


@pytest.mark.integration
def test_shards_behind_http_stay_there(tmp_path: Path, picture: Picture, pack_up: PackUp) -> None:
    for n in range(3):
        _shard(tmp_path / f"www/set/s-{n}.tar", picture, [0, 1] * 5, first=20 * n)
    local = pack_up(f"shards:{tmp_path}/www/set/*.tar", "local")
    with serve(files_of(tmp_path / "www")) as server:
        server.faults += ["slow", "drop", "truncate"]
        remote = pack_up(f"shards:{server.url}/set/s-{{0..2}}.tar", "remote")
        paths = [shard.path for shard in remote.manifest.splits["train"].shards]
        assert paths == [f"{server.url}/set/s-{n}.tar" for n in range(3)]
        assert remote.manifest.digest == local.manifest.digest
        assert _read(remote) == _read(local)
        with pytest.raises(UserError, match=r"s-3\.tar") as caught:
            pack_up(f"shards:{server.url}/set/s-{{2..3}}.tar", "missing")
    assert caught.value.exit_code == 2
    assert not list(tmp_path.glob("*remote.partial*"))


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_ray_tasks_write_the_same_bytes(tmp_path: Path) -> None:
    root = _digits(tmp_path)
    content = []
    for workers in (0, 2):
        config = PackConfig(
            source=f"shards:{root}/*.tar", out=str(tmp_path / f"{workers}"), num_workers=workers
        )
        plan = plan_pack(config)
        packed = pack(config, plan, runner(config, plan))
        content.append({path.name: path.read_bytes() for path in packed.root.rglob("*") if path.is_file()})
    assert content[0] == content[1]


def test_few_small_shards_are_read_in_this_process(tmp_path: Path) -> None:
    config = PackConfig(source=f"shards:{_digits(tmp_path)}/*.tar", out=str(tmp_path / "dataset"))
    assert runner(config, plan_pack(config)) is map
