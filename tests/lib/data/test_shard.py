import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image
from sklearn.datasets import load_sample_image

from lib.data.shard import Written, columns_of, unique_keys, write_shard
from lib.data.sources import Item, Source
from lib.data.split import ShardPlan

Picture = Callable[..., bytes]


def _source(pictures: list[bytes], keys: list[str] | None = None) -> Source:
    names = keys or [f"k{n}" for n in range(len(pictures))]
    items = [Item(key, n % 2, 1) for n, key in enumerate(names)]
    return Source("test", ["a", "b"], items, lambda number: (pictures[number], "jpg"))


def _write(
    folder: Path, source: Source, *, resize: int | None = None, max_pixels: int = 10**6
) -> tuple[Written, dict[str, bytes]]:
    """Write all items to one shard; return the result and the members of the tar."""
    plan = ShardPlan("train", 0, list(range(len(source.items))))
    (folder / "train").mkdir(exist_ok=True)
    written = write_shard(plan, columns_of(source), folder, resize=resize, max_pixels=max_pixels)
    with tarfile.open(folder / plan.path) as tar:
        return written, {member.name: tar.extractfile(member).read() for member in tar}


@pytest.mark.parametrize(
    ("kind", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("MPO", "jpg")]
)
def test_common_formats_are_stored_byte_for_byte(
    tmp_path: Path, picture: Picture, kind: str, extension: str
) -> None:
    if kind == "MPO":
        stream = io.BytesIO()
        frames = [Image.open(io.BytesIO(picture(seed))) for seed in (1, 2)]
        frames[0].save(stream, "MPO", save_all=True, append_images=frames[1:])
        data = stream.getvalue()
    else:
        data = picture(0, kind)
    written, members = _write(tmp_path, _source([data]))
    assert members == {f"k0.{extension}": data, "k0.cls": b"0"}
    assert written.sizes == [(12, 10)]


@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF", "PPM"])
def test_other_formats_become_png(tmp_path: Path, picture: Picture, kind: str, mode: str) -> None:
    data = picture(0, kind, mode=mode)
    written, members = _write(tmp_path, _source([data]))
    stored = Image.open(io.BytesIO(members["k0.png"]))
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert stored.format == "PNG"
    assert np.array_equal(np.asarray(stored.convert("RGB")), np.asarray(expected))
    assert written.grey == (mode in ("L", "1") and stored.mode == "L")


def test_resizing_makes_large_pictures_smaller_and_leaves_others(tmp_path: Path, picture: Picture) -> None:
    data = [
        picture(0, "JPEG", (80, 40)),
        picture(1, "PNG", (40, 80)),
        picture(2, "PNG", (20, 90)),
        picture(3, "WEBP", (60, 60)),
    ]
    written, members = _write(tmp_path, _source(data), resize=20)
    assert written.sizes == [(40, 20), (20, 40), (20, 90), (20, 20)]
    assert list(members) == ["k0.cls", "k0.jpg", "k1.cls", "k1.png", "k2.cls", "k2.png", "k3.cls", "k3.jpg"]
    assert written.resized == 3
    assert written.source_bytes == sum(map(len, data))
    assert members["k2.png"] == data[2]
    assert Image.open(io.BytesIO(members["k0.jpg"])).size == (40, 20)


def test_what_loses_nothing_still_loses_nothing_once_resized(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.effect_noise((80, 40), 50).convert("RGB").save(stream, "WEBP", lossless=True)
    _, members = _write(tmp_path, _source([stream.getvalue()]), resize=20)
    assert list(members) == ["k0.cls", "k0.png"]


def test_resized_photos_stay_close(tmp_path: Path) -> None:
    photo = Image.fromarray(load_sample_image("china.jpg"))
    small = photo.resize((384, 256), Image.Resampling.BICUBIC)
    for kind in ("JPEG", "PNG"):
        stream = io.BytesIO()
        photo.save(stream, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
        written, members = _write(tmp_path, _source([stream.getvalue()]), resize=256)
        (data,) = (data for name, data in members.items() if not name.endswith("cls"))
        stored = np.asarray(Image.open(io.BytesIO(data)), np.float32)
        error = np.square(stored - np.asarray(small, np.float32)).mean()
        assert error < 255**2 / 10**3.3  # 33 dB
        assert written.rows[0].size_bytes < written.source_bytes


def test_resized_pictures_are_upright(tmp_path: Path) -> None:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40)).save(stream, "JPEG", exif=exif)
    written, members = _write(tmp_path, _source([stream.getvalue()]), resize=20)
    assert written.sizes == [(20, 40)]
    stored = Image.open(io.BytesIO(members["k0.jpg"]))
    assert stored.size == (20, 40)
    assert not stored.getexif()


def test_a_shard_is_grey_when_every_picture_is(tmp_path: Path, picture: Picture) -> None:
    grey, colour = picture(0, mode="L"), picture(1)
    assert _write(tmp_path, _source([grey, grey]))[0].grey
    assert not _write(tmp_path, _source([grey, colour]))[0].grey


def test_what_cannot_be_used_is_left_out_with_a_reason(tmp_path: Path, picture: Picture) -> None:
    data = [picture(0), b"", b"<html>", picture(1)[:200], picture(2, size=(40, 40)), picture(3)]
    source = _source(data)

    def read(number: int) -> tuple[bytes, str]:
        if number == 5:
            raise PermissionError(13, "Permission denied")
        return data[number], "png"

    written, members = _write(tmp_path, Source("test", ["a", "b"], source.items, read), max_pixels=1000)
    assert set(members) == {"k0.png", "k0.cls"}
    assert written.shard.num_samples == 1
    reasons = {item.key: item.reason for item in written.bad}
    assert list(reasons) == ["k1", "k2", "k3", "k4", "k5"]
    assert reasons["k1"] == "the image is empty (0 bytes)"
    assert reasons["k2"].startswith("not an image")
    assert reasons["k3"].startswith("the image does not decode")
    assert reasons["k4"] == "the image has 40 x 40 pixels; at most 1,000 are allowed"
    assert reasons["k5"] == "cannot be read: Permission denied"


def test_a_shard_of_nothing_but_unusable_pictures(tmp_path: Path) -> None:
    written, members = _write(tmp_path, _source([b"", b""]))
    assert members == {}
    assert (written.shard.num_samples, written.rows, written.sizes) == (0, [], [])
    assert (written.source_bytes, written.resized) == (0, 0)


def test_another_error_is_not_swallowed(tmp_path: Path, picture: Picture) -> None:
    def read(_number: int) -> tuple[bytes, str]:
        raise RuntimeError("a mistake of the programmer")

    source = Source("test", ["a", "b"], _source([picture()]).items, read)
    with pytest.raises(RuntimeError, match="a mistake of the programmer"):
        _write(tmp_path, source)


KEYS = [
    "cat/a",
    "cat/a",
    "cat/a_2",
    "cat/a",
    "cat/b.v1.final",
    "cat/b_v1_final",
    "../up/c",
    "./d",
    "__x__/e",
    "_ok_",
    "Ärger & Co/ß 猫",
    "no\udce9text",
    "line\nbreak/f",
    "long/" + "n" * 240,
    "2/1",
    "cat//g",
]


def test_keys_are_unique_and_plain(picture: Picture) -> None:
    keys = unique_keys(_source([picture()] * len(KEYS), KEYS))
    assert keys[:6] == ["cat/a", "cat/a_3", "cat/a_2", "cat/a_4", "cat/b_v1_final", "cat/b_v1_final_2"]
    assert keys[6:11] == ["_/up/c", "_/d", "_x__/e", "_ok_", "Ärger & Co/ß 猫"]
    assert keys[11:13] == ["no\\udce9text", "line_break/f"]
    assert keys[15] == "cat/g"
    assert len(set(keys)) == len(keys)


# Webdataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_every_key(tmp_path: Path, picture: Picture) -> None:
    source = _source([picture(n) for n in range(len(KEYS))], KEYS)
    written, _ = _write(tmp_path, source)
    shards = webdataset.WebDataset([str(tmp_path / "train/train-000000.tar")], shardshuffle=False)
    assert [sample["__key__"] for sample in shards] == unique_keys(source)
    assert [row.key for row in written.rows] == unique_keys(source)


def test_numbering_equal_keys_takes_no_longer_than_it_must() -> None:
    items = [Item("same", 0, 1)] * 20_000
    keys = unique_keys(Source("test", ["a"], items, lambda _: (b"", "")))
    assert len(set(keys)) == 20_000
