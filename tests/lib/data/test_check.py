import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.config.packing import CheckConfig, PackConfig
from lib.data.check import Checked, check, plan_check, runner
from lib.data.index import SCHEMA
from lib.data.manifest import Manifest, Split
from lib.data.pack import pack, plan_pack
from lib.errors import UserError
from tests.lib.data.handmade import Sample, edit_manifest, entry, refresh, write_dataset, write_manifest
from tests.lib.data.servers import files_of, serve

Picture = Callable[..., bytes]

CHANGED_FILE = "shards whose bytes have changed"
CHANGED_PICTURE = "pictures whose bytes have changed"
DAMAGED_TAR = "damaged tars"
DAMAGED_INDEX = "damaged indexes"
NUMBERS = "numbers of samples that differ"
NO_PICTURE = "rows of the index without a picture"
NOT_LISTED = "pictures that the index does not list"
UNUSABLE = "pictures that cannot be used"


def _check(root: Path | str, **config: object) -> Checked:
    values = CheckConfig.model_validate({"root": str(root), **config})
    return check(values, plan_check(values), map)


def _found(root: Path | str, **config: object) -> dict[str, int]:
    return _check(root, **config).problems.counts()


@pytest.fixture
def sound(tmp_path: Path, picture: Picture) -> Path:
    """A dataset without fault: two training shards of six and five pictures, and one of four."""
    samples = [Sample(f"k/{n:02d}", picture(n), n % 3) for n in range(15)]
    return write_dataset(tmp_path / "sound", {"train": [samples[:6], samples[6:11]], "val": [samples[11:]]})


def _shard(root: Path, number: int = 0) -> Path:
    return root / f"train/train-{number:06d}.tar"


def _index(root: Path) -> pa.Table:
    return pq.read_table(root / "train/index.parquet")


def _write_index(root: Path, table: pa.Table) -> None:
    pq.write_table(table, root / "train/index.parquet")


def _edit_index(root: Path, column: str, row: int, value: object) -> None:
    table = _index(root)
    values = table[column].to_pylist()
    values[row] = value
    field = SCHEMA.get_field_index(column)
    _write_index(
        root, table.set_column(field, SCHEMA.field(field), pa.array(values, SCHEMA.field(field).type))
    )


def _edit_bytes(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def _offset(root: Path, row: int) -> int:
    return int(_index(root)["offset"][row].as_py())


# What is sound


def test_a_sound_dataset(sound: Path) -> None:
    checked = _check(sound, decode=True)
    assert checked.problems.counts() == {}
    assert checked.warnings == []
    assert [line.split() for line in checked.description[:3]] == [
        ["train", "val"],
        ["images", "11", "4"],
        ["shards", "2", "1"],
    ]


def test_a_packed_dataset_is_sound(digits: Path) -> None:
    # Two of scikit-learn's digits would be news.
    checked = _check(digits)
    assert checked.problems.counts() == {}
    assert checked.warnings == []


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_ray_tasks_find_the_same(sound: Path) -> None:
    _edit_bytes(_shard(sound), _offset(sound, 2) + 20, b"\xff\xff")
    _shard(sound, 1).unlink()
    config = CheckConfig(root=str(sound), num_workers=2)
    plan = plan_check(config)
    parallel = check(config, plan, runner(config, plan))
    assert parallel.problems
    assert parallel.lines() == _check(sound).lines()


def test_small_datasets_are_checked_in_this_process(sound: Path) -> None:
    config = CheckConfig(root=str(sound))
    assert runner(config, plan_check(config)) is map


def test_what_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no dataset\.json"):
        _check(tmp_path)
    write_manifest(tmp_path, {})
    with pytest.raises(UserError, match="has no splits"):
        _check(tmp_path)


# Shards


def test_a_flipped_byte_in_a_picture(sound: Path) -> None:
    offset = _offset(sound, 8)
    content = _shard(sound, 1).read_bytes()
    _edit_bytes(_shard(sound, 1), offset + 40, bytes([content[offset + 40] ^ 1]))
    checked = _check(sound)
    assert checked.problems.counts() == {CHANGED_FILE: 1, CHANGED_PICTURE: 1}
    assert "  train/train-000001.tar: k/08" in checked.problems.lines()
    # The row says so, too, if the checksum of the shard was taken after the damage.
    refresh(sound)
    assert _found(sound) == {CHANGED_PICTURE: 1}


def test_a_changed_byte_between_the_pictures(sound: Path) -> None:
    # The time of a member, with the checksum of the header made right: nothing but the sha256 can tell.
    header = bytearray(_shard(sound).read_bytes()[:512])
    header[146] ^= 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    _edit_bytes(_shard(sound), 0, bytes(header))
    assert _found(sound) == {CHANGED_FILE: 1}


@pytest.mark.parametrize("member", [0, 5])
def test_a_flipped_byte_in_a_header(sound: Path, member: int) -> None:
    _edit_bytes(_shard(sound), _offset(sound, member) - 512, b"X")
    checked = _check(sound)
    assert checked.problems.counts() == {CHANGED_FILE: 1, DAMAGED_TAR: 1}
    assert any(line.startswith("  train/train-000000.tar: ") for line in checked.problems.lines())
    refresh(sound)
    assert _found(sound) == {DAMAGED_TAR: 1}


def test_a_truncated_shard(sound: Path) -> None:
    stop = _offset(sound, 3) + 10
    _shard(sound).write_bytes(_shard(sound).read_bytes()[:stop])
    checked = _check(sound)
    assert checked.problems.counts() == {
        "shards of another size": 1,
        CHANGED_PICTURE: 3,
        DAMAGED_TAR: 1,
    }
    assert [f"  train/train-000000.tar: k/{n:02d}" in checked.problems.lines() for n in range(6)] == [
        *[False] * 3,
        *[True] * 3,
    ]


def test_a_deleted_shard(sound: Path) -> None:
    _shard(sound, 1).unlink()
    checked = _check(sound)
    assert checked.problems.lines() == [
        "shards that cannot be read: 1",
        "  train/train-000001.tar: No such file or directory",
    ]


def test_two_shards_that_were_swapped(sound: Path) -> None:
    first, second = _shard(sound, 0), _shard(sound, 1)
    contents = second.read_bytes(), first.read_bytes()
    first.write_bytes(contents[0])
    second.write_bytes(contents[1])
    found = _found(sound)
    assert found.keys() >= {CHANGED_PICTURE, NOT_LISTED}
    assert found.get(CHANGED_FILE, 0) + found.get("shards of another size", 0) == 2


# Labels and keys


def test_a_label_edited_in_the_tar(sound: Path) -> None:
    # The label is the member after the picture: its bytes are one block after its header.
    content = _shard(sound).read_bytes()
    place = content.index(b"k/01.cls") + 512
    assert content[place : place + 1] == b"1"
    _edit_bytes(_shard(sound), place, b"2")
    refresh(sound)
    checked = _check(sound)
    assert checked.problems.lines() == [
        "labels that differ: 1",
        "  train/train-000000.tar: k/01: the tar says 2, the index 1",
    ]


@pytest.mark.parametrize("said", ["one", "", "-1", "1.5"])
def test_a_label_that_is_no_number(tmp_path: Path, picture: Picture, said: str) -> None:
    root = write_dataset(tmp_path / "d", {"train": [[Sample("k", picture(), 1, said)]]})
    assert _check(root).problems.lines()[1:] == [
        "  train/train-000000.tar: k: the tar says no number, the index 1"
    ]


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_out_of_range(tmp_path: Path, picture: Picture, label: int) -> None:
    root = write_dataset(
        tmp_path / "d", {"train": [[Sample("k", picture(1), 2), Sample("l", picture(), label)]]}
    )
    lines = _check(root).problems.lines()
    assert lines[:2] == ["labels out of range: 1", f"  train/train-000000.tar: l: {label} of 3 classes"]


def test_a_key_that_two_shards_have(tmp_path: Path, picture: Picture) -> None:
    shards = [[Sample("k", picture(n)), Sample(f"only{n}", picture(9 + n))] for n in range(3)]
    root = write_dataset(tmp_path / "d", {"train": shards, "val": [[Sample("k", picture(20))]]})
    assert _check(root).problems.lines() == ["keys that occur twice: 2", "  train: k", "  train: k"]


def test_a_member_that_a_tar_has_twice(tmp_path: Path, picture: Picture) -> None:
    samples = [Sample("k", picture(1)), Sample("k", picture(2))]
    root = write_dataset(tmp_path / "d", {"train": [samples]})
    assert _found(root) == {NO_PICTURE: 1, NOT_LISTED: 1, "keys that occur twice": 1}


# The index


@pytest.mark.parametrize(
    ("column", "value", "kinds"),
    [
        ("key", "k/other", {"keys that differ"}),
        ("label", 2, {"labels that differ"}),
        ("label", 7, {"labels that differ", "labels out of range"}),
        ("offset", 7, {CHANGED_PICTURE, NO_PICTURE, NOT_LISTED}),
        ("size_bytes", 5, {CHANGED_PICTURE, NO_PICTURE}),
        ("size_bytes", 2**30, {CHANGED_PICTURE, NO_PICTURE}),
        ("checksum", 5, {CHANGED_PICTURE}),
        ("width", 5, {"picture sizes that differ"}),
        ("height", 5, {"picture sizes that differ"}),
        ("shard", 1, {NUMBERS, CHANGED_PICTURE, NOT_LISTED}),
        ("shard", -1, {DAMAGED_INDEX}),
        ("label", None, {DAMAGED_INDEX}),
    ],
)
def test_a_value_edited_in_the_index(sound: Path, column: str, value: object, kinds: set[str]) -> None:
    _edit_index(sound, column, 4 if column != "shard" else 5, value)
    assert _found(sound).keys() >= kinds
    assert _found(sound).keys() <= {*kinds, NO_PICTURE}


def test_a_row_missing_from_the_index(sound: Path) -> None:
    table = _index(sound)
    _write_index(sound, pa.concat_tables([table.slice(0, 3), table.slice(4)]))
    checked = _check(sound)
    assert checked.problems.lines() == [
        f"{NUMBERS}: 1",
        "  train/train-000000.tar: dataset.json says 6, the index lists 5",
        f"{NOT_LISTED}: 1",
        "  train/train-000000.tar: k/03",
    ]


def test_rows_of_a_shard_that_the_split_does_not_have(sound: Path) -> None:
    _edit_index(sound, "shard", 10, 2)
    found = _check(sound).problems
    assert found.counts() == {DAMAGED_INDEX: 1, NUMBERS: 1, NOT_LISTED: 1}
    assert "  train/index.parquet: it lists shard 2, the split has 2" in found.lines()


def test_a_shard_without_rows(sound: Path) -> None:
    _write_index(sound, _index(sound).slice(6))
    assert _found(sound) == {NUMBERS: 1, NOT_LISTED: 6}
    _write_index(sound, _index(sound).slice(0, 0))
    assert _found(sound) == {NUMBERS: 2, NOT_LISTED: 11}


def test_an_index_that_cannot_be_read(sound: Path) -> None:
    path = sound / "train/index.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    assert _found(sound) == {DAMAGED_INDEX: 1}
    # The shards are checked all the same.
    _shard(sound).write_bytes(b"")
    assert _found(sound) == {DAMAGED_INDEX: 1, "shards of another size": 1, DAMAGED_TAR: 1}
    path.unlink()
    assert _found(sound)[DAMAGED_INDEX] == 1


# The manifest


def test_numbers_edited_in_the_manifest(sound: Path) -> None:
    manifest = Manifest.model_validate_json((sound / "dataset.json").read_text())
    splits = manifest.model_dump()["splits"]
    splits["train"]["num_samples"] = 12
    edit_manifest(sound, splits=splits)
    assert _check(sound).problems.lines() == [
        "dataset.json: 1",
        "  split train has 12 samples, its shards have 11",
    ]
    splits["train"]["shards"][1]["num_samples"] = 6
    edit_manifest(sound, splits=splits)
    assert _found(sound) == {NUMBERS: 1}


def test_classes_edited_in_the_manifest(sound: Path) -> None:
    edit_manifest(sound, classes=["a", "b", "a"])
    assert _check(sound).problems.lines() == [
        "dataset.json: 2",
        "  the digest does not belong to these classes and shards",
        "  two classes have the name a",
    ]


# Pictures


def test_what_is_no_picture(tmp_path: Path, picture: Picture) -> None:
    samples = [Sample("html", b"<html>"), Sample("empty", b""), Sample("good", picture())]
    lines = _check(write_dataset(tmp_path / "d", {"train": [samples]})).problems.lines()
    assert lines[0] == f"{UNUSABLE}: 2"
    assert lines[1].startswith("  train/train-000000.tar: html: not an image")
    assert lines[2].startswith("  train/train-000000.tar: empty: the image is empty")


def test_a_picture_that_does_not_decode_is_found_by_decoding(tmp_path: Path, picture: Picture) -> None:
    data = picture(0, "JPEG", (64, 64))
    root = write_dataset(tmp_path / "d", {"train": [[Sample("k", data[: len(data) // 2])]]})
    assert _found(root) == {}
    assert _found(root, decode=True) == {UNUSABLE: 1}


def test_a_picture_with_too_many_pixels(sound: Path) -> None:
    assert _found(sound, max_pixels=120) == {}
    assert _found(sound, max_pixels=119) == {UNUSABLE: 15}


def test_ten_of_a_kind_are_listed(tmp_path: Path) -> None:
    samples = [Sample(f"k{n:02d}", b"<html>") for n in range(13)]
    lines = _check(write_dataset(tmp_path / "d", {"train": [samples[:9], samples[9:]]})).problems.lines()
    assert lines[0] == f"{UNUSABLE}: 13"
    assert lines[11] == "  … and 3 more"
    assert len(lines) == 12


# Shards that splits share, or that lie elsewhere


def _share(root: Path) -> Path:
    """Let train and val list halves of one shard that lies elsewhere, as an index in place does."""
    elsewhere = root.parent / "elsewhere.tar"
    shutil.move(_shard(root), elsewhere)
    table = _index(root).slice(0, 6)
    shutil.rmtree(root)
    splits = {}
    for name, rows in (("train", table.slice(0, 3)), ("val", table.slice(3, 2))):
        (root / name).mkdir(parents=True)
        pq.write_table(rows, root / name / "index.parquet")
        splits[name] = Split(num_samples=len(rows), shards=[entry(elsewhere, str(elsewhere), len(rows))])
    write_manifest(root, splits)
    return elsewhere


def test_of_a_shard_that_splits_share_the_rows_are_checked(sound: Path) -> None:
    elsewhere = _share(sound)
    assert _found(sound) == {}
    rows = pq.read_table(sound / "val/index.parquet")
    _edit_bytes(elsewhere, rows["offset"][1].as_py() + 20, b"\0\0\0\0\0")
    checked = _check(sound)
    assert checked.problems.lines() == [
        f"{CHANGED_FILE}: 1",
        checked.problems.lines()[1],
        f"{CHANGED_PICTURE}: 1",
        f"  {elsewhere}: k/04",
    ]


def test_labels_of_foreign_shards_are_taken_as_indexed(sound: Path) -> None:
    # They may come from a text or a JSON member.
    _share(sound)
    _edit_index(sound, "label", 1, 2)
    assert _found(sound) == {}


def test_foreign_shards_may_use_a_key_each(tmp_path: Path, picture: Picture) -> None:
    root = write_dataset(tmp_path / "d", {"train": [[Sample("k", picture(n))] for n in range(2)]})
    shards = [entry(_shard(root, n), str(_shard(root, n)), 1) for n in range(2)]
    write_manifest(root, {"train": Split(num_samples=2, shards=shards)})
    assert _found(root) == {}


# What is there twice


def test_pictures_in_two_splits(tmp_path: Path, picture: Picture) -> None:
    train = [Sample(f"t{n:02d}", picture(n), n % 3) for n in range(20)]
    val = [Sample(f"v{n:02d}", picture(n), n % 3) for n in range(12)]
    root = write_dataset(tmp_path / "d", {"train": [train[:7], train[7:]], "val": [val]})
    checked = _check(root)
    assert checked.problems.counts() == {}
    assert len(checked.warnings) == 12
    assert checked.warnings[0] == (
        "warning: 12 pictures are in more than one split (12 images of train, 12 images of val); "
        "leakage: keep each in one split only, and pack again"
    )
    assert checked.warnings[1:3] == ["  train t00 (a) = val v00 (a)", "  train t01 (b) = val v01 (b)"]
    assert checked.warnings[11] == "  … and 2 more"


def test_pictures_twice_in_a_split_and_under_two_labels(tmp_path: Path, picture: Picture) -> None:
    data = picture(1)
    shards = [[Sample("x", data, 0), Sample("y", picture(2))], [Sample("z", data, 1), Sample("w", data, 0)]]
    checked = _check(write_dataset(tmp_path / "d", {"train": shards}))
    assert checked.problems.counts() == {}
    assert checked.warnings == [
        "warning: 1 picture is more than once in a split (3 images of train); they count several times",
        "  train x (a) = train z (b) = train w (a)",
        "warning: 1 picture is there under several labels (3 images of train); decide on one, and pack again",
        "  train x (a) = train z (b)",
    ]


def test_a_long_index(tmp_path: Path, picture: Picture) -> None:
    # Several batches of the index within a shard, and several shards within a batch.
    data = picture()
    names = np.char.mod("k%05d", np.arange(20_000))
    shards = [
        [Sample(str(name), data) for name in part] for part in np.split(names, [17_000, 17_001, 18_000])
    ]
    checked = _check(write_dataset(tmp_path / "d", {"train": shards}))
    assert checked.problems.counts() == {}
    assert checked.warnings[0].startswith("warning: 1 picture is more than once in a split (20,000 images")


# Elsewhere


@pytest.mark.integration
def test_a_remote_dataset(sound: Path) -> None:
    _edit_bytes(_shard(sound), _offset(sound, 2) + 20, b"\xff\xff")
    _shard(sound, 1).unlink()
    with serve(files_of(sound)) as server:
        remote = _check(server.url)
    local = _check(sound)
    assert remote.problems.counts() == local.problems.counts()
    assert remote.description == local.description
    assert "  train/train-000000.tar: k/02" in remote.problems.lines()
    assert any(line.startswith("  train/train-000001.tar: ") for line in remote.problems.lines())


@pytest.mark.integration
def test_a_remote_dataset_without_an_index(sound: Path) -> None:
    (sound / "train/index.parquet").unlink()
    with serve(files_of(sound)) as server:
        assert _found(server.url) == {DAMAGED_INDEX: 1}


def test_shards_indexed_in_place(sound: Path, tmp_path: Path) -> None:
    # Names that are no split: the splits are drawn, and share the shards.
    parts = tmp_path / "parts"
    parts.mkdir()
    for number, path in enumerate(sorted(sound.rglob("*.tar"))):
        shutil.copy(path, parts / f"{number}.tar")
    config = PackConfig(source=f"shards:{parts}/*.tar", out=str(tmp_path / "indexed"))
    root = pack(config, plan_pack(config), map).root
    assert _found(root) == {}
    _edit_bytes(parts / "0.tar", _offset(sound, 2) + 20, b"\xff\xff")
    assert _found(root) == {CHANGED_FILE: 1, CHANGED_PICTURE: 1}
