import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.data.foreign import ForeignShard, read_shard
from lib.data.index import checksum
from lib.images.decode import MAX_PIXELS
from tests.lib.data.tars import write_tar

Picture = Callable[..., bytes]


def _read(path: Path, *, label: str = "auto", max_pixels: int = MAX_PIXELS) -> ForeignShard:
    return read_shard(str(path), label=label, json_key="label", max_pixels=max_pixels)


def _bad(found: ForeignShard) -> dict[str, str]:
    """Reasons by key, without the place, which is that of the shard."""
    place = f" ({found.location})"
    assert all(item.reason.endswith(place) for item in found.bad)
    assert len({item.key for item in found.bad}) == len(found.bad)
    return {item.key: item.reason.removesuffix(place) for item in found.bad}


def test_where_the_pictures_are(tmp_path: Path, picture: Picture) -> None:
    files = [
        ("b.cls", b"1"),
        ("sub.d/a.PNG", picture(0, "PNG", (7, 5))),
        ("b.jpeg", picture(1, "JPEG")),
        ("sub.d/a.cls", b" 0\n"),
        ("c.webp", picture(2, "WEBP", mode="L")),
        ("c.cls", b"+2"),
        ("README.md", b"-"),
        ("__index__.json", b"{}"),
    ]
    path = write_tar(tmp_path / "s.tar", files)
    found = _read(path)
    assert _bad(found) == {}
    assert found.samples["key"].to_pylist() == ["sub.d/a", "b", "c"]
    assert found.samples["number"].to_pylist() == [0, 1, 2]
    assert found.samples["name"].to_pylist() == [None] * 3
    assert [found.samples[side][0].as_py() for side in ("width", "height")] == [7, 5]
    content = path.read_bytes()
    for row, data in zip(found.samples.to_pylist(), (files[1][1], files[2][1], files[4][1]), strict=True):
        assert content[row["offset"] : row["offset"] + row["size_bytes"]] == data
        assert row["checksum"] == checksum(data)
    assert (found.label, found.grey, found.has_end, found.damage) == ("cls", False, True, None)
    assert found.size_bytes == len(content)


def test_a_shard_is_grey_when_every_picture_is(tmp_path: Path, picture: Picture) -> None:
    files = [("a.png", picture(mode="L")), ("a.cls", b"0")]
    assert _read(write_tar(tmp_path / "s.tar", files)).grey


# Labels


@pytest.mark.parametrize(
    ("label", "numbers", "names"),
    [
        ("auto", [3], [None]),
        ("cls", [3], [None]),
        ("txt", [None], ["sea lion"]),
        ("json", [7], [None]),
    ],
)
def test_the_member_that_holds_the_label(
    tmp_path: Path, picture: Picture, label: str, numbers: list[object], names: list[object]
) -> None:
    sample = [
        ("a.jpg", picture(0, "JPEG")),
        ("a.json", b'{"label": 7}'),
        ("a.txt", "\ufeffsea lion\n".encode()),
    ]
    found = _read(write_tar(tmp_path / "s.tar", [*sample, ("a.cls", b"3")]), label=label)
    assert found.samples["number"].to_pylist() == numbers
    assert found.samples["name"].to_pylist() == names
    assert found.label == ("cls" if label == "auto" else label)


def test_auto_takes_what_the_shard_has(tmp_path: Path, picture: Picture) -> None:
    files = [
        ("a.jpg", picture(0, "JPEG")),
        ("a.json", b'{"label": "x"}'),
        ("list.txt", b"-"),
        ("b.cls", b"1"),
    ]
    found = _read(write_tar(tmp_path / "s.tar", files))
    assert found.label == "json"
    assert found.samples["name"].to_pylist() == ["x"]


@pytest.mark.parametrize(
    ("label", "content", "reason"),
    [
        ("cls", b"", "cls is not a whole number: ''"),
        ("cls", b"cat", "cls is not a whole number: 'cat'"),
        ("cls", b"1.5", "cls is not a whole number: '1.5'"),
        ("cls", b"1_0", "cls is not a whole number: '1_0'"),
        ("cls", b"-1", "label -1 is out of range"),
        ("cls", b"9" * 5000, "label 99999999999999999999 is out of range"),
        ("cls", b"\xff\xfe", r"cls is not UTF-8: it starts with b'\xff\xfe'"),
        ("txt", b" ", "txt is no name of a class: ''"),
        ("txt", b"two\nlines", r"txt is no name of a class: 'two\nlines'"),
        ("txt", b"a" * 201, f"txt is no name of a class: '{'a' * 40}…'"),
        ("json", b"{", "json is damaged: Expecting property name"),
        ("json", b"[]", "json has no key 'label'"),
        ("json", b'{"labels": 1}', "json has no key 'label'"),
        ("json", b'{"label": true}', "json key 'label' is neither a whole number nor text: 'True'"),
        ("json", b'{"label": 1.0}', "json key 'label' is neither a whole number nor text: '1.0'"),
        ("json", b'{"label": ""}', "json key 'label' is no name of a class: ''"),
        ("json", b'{"label": -2}', "label -2 is out of range"),
    ],
)
def test_labels_that_are_none(
    tmp_path: Path, picture: Picture, label: str, content: bytes, reason: str
) -> None:
    path = write_tar(tmp_path / "s.tar", [("a.jpg", picture(0, "JPEG")), (f"a.{label}", content)])
    found = _read(path)
    assert len(found.samples) == 0
    assert _bad(found)["a"].startswith(reason)


def test_another_key_of_the_json(tmp_path: Path, picture: Picture) -> None:
    files = [("a.jpg", picture(0, "JPEG")), ("a.json", json.dumps({"class": "ü"}).encode())]
    path = write_tar(tmp_path / "s.tar", files)
    found = read_shard(str(path), label="json", json_key="class", max_pixels=MAX_PIXELS)
    assert found.samples["name"].to_pylist() == ["ü"]


# What cannot be indexed


def test_every_reason(tmp_path: Path, picture: Picture) -> None:
    good = picture(0, "JPEG")
    files = [
        ("good.jpg", good),
        ("good.cls", b"0"),
        ("bare.jpg", good),
        ("text.jpg", good),
        ("text.txt", b"0"),
        ("blind.cls", b"0"),
        ("blind.seg.png", good),
        ("twins.jpg", good),
        ("twins.png", good),
        ("twins.cls", b"0"),
        ("empty.jpg", b""),
        ("empty.cls", b"0"),
        ("html.jpg", b"<html>"),
        ("html.cls", b"0"),
        ("large.png", picture(1, size=(40, 40))),
        ("large.cls", b"0"),
        ("good.JPG", picture(1, "JPEG")),
        ("good.cls", b"1"),
    ]
    found = _read(write_tar(tmp_path / "s.tar", files), max_pixels=1000)
    assert found.samples["key"].to_pylist() == ["good"]
    assert found.samples["checksum"].to_pylist() == [checksum(good)]
    reasons = _bad(found)
    assert reasons.pop("html").startswith("not an image: the bytes start with b'<html>'")
    assert reasons == {
        "bare": "no label: it has jpg and no cls",
        "text": "no label: it has jpg, txt and no cls",
        "blind": "no picture: it has cls, seg.png; pictures are jpg, jpeg, png, webp",
        "twins": "2 pictures: jpg, png",
        "empty": "the image is empty (0 bytes)",
        "large": "the image has 40 x 40 pixels; at most 1,000 are allowed",
        "good": "good.cls comes twice, the first is used",
    }


def test_a_shard_without_labels(tmp_path: Path, picture: Picture) -> None:
    found = _read(write_tar(tmp_path / "s.tar", [("a.jpg", picture(0, "JPEG"))]))
    assert found.label is None
    assert _bad(found) == {"a": "no label: it has jpg and no cls, txt, json"}


def test_links_are_named(tmp_path: Path, picture: Picture) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.jpg", picture(0, "JPEG")), ("a.cls", b"0"), ("b.cls", b"1")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name in ("b.jpg", "c.jpg", "c.cls", "notes.txt"):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, "a.jpg"
            tar.addfile(member)
    found = _read(path)
    assert found.samples["key"].to_pylist() == ["a"]
    assert _bad(found) == {"b": "b.jpg is a link to another file", "c": "c.cls is a link to another file"}


def test_a_damaged_tar_is_part_of_the_answer(tmp_path: Path, picture: Picture) -> None:
    path = write_tar(tmp_path / "s.tar", [("a.jpg", picture(0, "JPEG")), ("a.cls", b"0")])
    path.write_bytes(path.read_bytes()[:700])
    found = _read(path)
    assert found.damage == "a.jpg, at byte 0, after 0 members, is cut off"
    assert len(found.samples) == 0
    path.unlink()
    path.mkdir()
    assert _read(path).damage == "it cannot be read: Is a directory"


@pytest.mark.parametrize("kind", ["gnu", "pax"])
def test_a_flipped_bit_in_a_header_never_loses_a_sample_silently(
    tmp_path: Path, picture: Picture, kind: str
) -> None:
    # Long names take headers of their own, whose content no checksum covers.
    keys = ["a", "long/" * 20 + "ü", "long/" * 20 + "z"]
    data = picture(0, "PNG", (2, 2), mode="L")
    files = [file for key in keys for file in ((f"{key}.png", data), (f"{key}.cls", b"1"))]
    path = write_tar(tmp_path / "s.tar", files, kind)
    content, whole = path.read_bytes(), _read(path)
    assert len(whole.samples) == len(keys)
    pictures = {
        position
        for row in whole.samples.to_pylist()
        for position in range(row["offset"], row["offset"] + row["size_bytes"])
    }
    with tarfile.open(path) as tar:
        labels = {member.offset_data for member in tar if member.name.endswith(".cls")}
        end = tar.offset
    headers = [position for position in range(end) if position not in pictures | labels]
    # Every byte that says something, and some of those that are empty.
    headers = [position for position in headers if content[position] or position % 23 == 0]
    outcomes = {"damaged": 0, "named": 0, "unchanged": 0}
    for position in headers:
        changed = bytearray(content)
        changed[position] ^= 1 << position * 5 % 8
        path.write_bytes(changed)
        found = _read(path)
        if found.damage is not None:
            outcomes["damaged"] += 1
        elif found.bad:
            outcomes["named"] += 1
        else:
            assert found.samples == whole.samples, position
            outcomes["unchanged"] += 1
    assert all(outcomes.values())
