import gzip
import io
import lzma
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from lib.data import tar as tar_module
from lib.data.tar import DamagedTar, Scan, read_member, scan, split_name
from tests.lib.data.tars import FORMATS, write_tar

PAIR = [("a.jpg", b"picture"), ("a.cls", b"1")]
MANY = [(f"{n:03d}.{extension}", bytes([n]) * 700) for n in range(50) for extension in ("jpg", "cls")]


def _contents(path: Path, found: Scan) -> dict[str, dict[str, bytes]]:
    with path.open("rb") as file:
        return {
            key: {extension: read_member(file, member) for extension, member in members.items()}
            for key, members in found.samples.items()
        }


def _refused(path: Path) -> str:
    with pytest.raises(DamagedTar) as caught:
        scan(path)
    assert str(path) in caught.value.problem
    assert caught.value.hint
    return caught.value.reason


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", "jpg")),
        ("dir/a.JPEG", ("dir/a", "jpeg")),
        ("v1.0/x.y/a.seg.png", ("v1.0/x.y/a", "seg.png")),
        ("./a.cls", ("./a", "cls")),
        ("/abs/a.cls", ("/abs/a", "cls")),
        ("ß/猫.Txt", ("ß/猫", "txt")),
        ("bad\udce9.jpg", ("bad\\udce9", "jpg")),
        ("a/__b__.json", ("a/__b__", "json")),
        ("README", None),
        ("dir.d/README", None),
        (".hidden", None),
        ("dir/._a.jpg", None),
        ("a.", None),
        ("__meta__", None),
        ("__meta__/a.jpg", None),
        ("a.__url__", None),
    ],
)
def test_keys_and_extensions(name: str, expected: tuple[str, str] | None) -> None:
    assert split_name(name) == expected


# Writers

NAMES = ["a", "v1.0/a", "ß & 猫", "x" * 99 + "/" + "y" * 60]
LONG = ["x" * 150 + "/" + "y" * 150, "p/" * 200 + "z" * 200]


def _files(names: list[str]) -> list[tuple[str, bytes]]:
    pairs = [[(f"{name}.jpg", f"picture {name}".encode()), (f"{name}.cls", b"3")] for name in names]
    return [file for pair in pairs for file in pair]


@pytest.mark.parametrize("kind", FORMATS)
def test_what_python_writes(tmp_path: Path, kind: str) -> None:
    names = NAMES if kind == "ustar" else NAMES + LONG
    path = write_tar(tmp_path / "a.tar", _files(names), kind)
    found = scan(path)
    assert list(found.samples) == names
    for name, sample in _contents(path, found).items():
        assert sample == {"jpg": f"picture {name}".encode(), "cls": b"3"}


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_writes(tmp_path: Path, kind: str) -> None:
    names = {"v7": ["v1.0/a", "ß"], "ustar": NAMES}.get(kind, NAMES + LONG)
    root = tmp_path / "files"
    for name, data in _files(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    path = tmp_path / "a.tar"
    subprocess.run(["tar", f"--format={kind}", "-cf", path, "-C", root, "."], check=True)
    found = scan(path)
    assert found.has_end
    assert _contents(path, found) == {
        f"./{name}": {"jpg": f"picture {name}".encode(), "cls": b"3"} for name in names
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_webdataset_writes_and_reads(tmp_path: Path) -> None:
    import webdataset

    with webdataset.ShardWriter(str(tmp_path / "s-%06d.tar"), maxcount=5, verbose=0) as writer:
        for n in range(5):
            writer.write({"__key__": f"dir.x/{n}", "jpg": bytes([n]), "cls": n, "seg.png": b"-", "json": {}})
    path = tmp_path / "s-000000.tar"
    found = _contents(path, scan(path))
    theirs = list(webdataset.WebDataset([str(path)], shardshuffle=False))
    assert [sample["__key__"] for sample in theirs] == list(found)
    for sample in theirs:
        assert found[sample["__key__"]] == {k: v for k, v in sample.items() if not k.startswith("__")}


# Members


def test_members_need_not_be_neighbours(tmp_path: Path) -> None:
    files = [("b.cls", b"1"), ("a.cls", b"0"), ("a.jpg", b"A"), ("README.txt", b"-"), ("b.jpg", b"B")]
    path = write_tar(tmp_path / "a.tar", files)
    assert _contents(path, scan(path)) == {
        "b": {"cls": b"1", "jpg": b"B"},
        "a": {"cls": b"0", "jpg": b"A"},
        "README": {"txt": b"-"},
    }


def test_of_two_members_the_first_counts(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [*PAIR, ("b.jpg", b"B"), ("a.JPG", b"another")])
    found = scan(path)
    assert found.repeated == ["a.JPG"]
    assert _contents(path, found)["a"] == {"jpg": b"picture", "cls": b"1"}


def test_what_has_no_bytes_is_no_member(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("dir.d", tarfile.DIRTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("soft.cls", tarfile.SYMTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.jpg"
            tar.addfile(member)
        member = tarfile.TarInfo("a.jpg")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    found = scan(path)
    assert _contents(path, found) == {"a": {"jpg": b"abc"}}
    assert found.links == ["hard.jpg", "soft.cls"]


def test_a_tar_of_nothing(tmp_path: Path) -> None:
    assert scan(write_tar(tmp_path / "a.tar", [])) == Scan()


def test_global_headers_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "by git"}) as tar:
        member = tarfile.TarInfo("a.jpg")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    assert _contents(path, scan(path)) == {"a": {"jpg": b"abc"}}


# Damage


def _header_of(path: Path, name: str) -> int:
    with tarfile.open(path) as tar:
        return tar.getmember(name).offset


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", MANY)
    offset = _header_of(path, "020.jpg")
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    with tarfile.open(path) as tar:
        assert len(tar.getnames()) == 40  # why scan has to look
    assert _refused(path) == f"the header at byte {offset:,}, after 40 members, is damaged"


def test_a_damaged_first_header(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", PAIR)
    path.write_bytes(b"b" + path.read_bytes()[1:])
    assert "its first header is damaged" in _refused(path)


def test_a_header_of_zeros(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", MANY)
    offset = _header_of(path, "020.jpg")
    content = bytearray(path.read_bytes())
    content[offset : offset + 512] = bytes(512)
    path.write_bytes(content)
    assert f"it ends at byte {offset:,}, after 40 members, but more data follows" in _refused(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_place_where_a_file_may_be_cut_off(tmp_path: Path, kind: str) -> None:
    names = ["a", "b" * 40] if kind == "ustar" else ["a", "b" * 140]
    path = write_tar(tmp_path / "a.tar", _files(names), kind)
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar] + [tar.offset]
    for size in range(1, starts[-1] + 512, 61):
        path.write_bytes(content[:size])
        _refused(path) if size <= starts[-1] else scan(path)
    for count, size in enumerate(starts[1:], 1):
        # Between two members nothing is wrong but the end that is missing.
        path.write_bytes(content[:size])
        found = scan(path)
        assert sum(map(len, found.samples.values())) == count
        assert not found.has_end


def test_two_tars_in_one_file(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", MANY)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() * 2)
    assert _refused(path).endswith(
        f"more data follows at byte {size:,}: it is damaged, or several tars in one file"
    )


def test_a_download_that_was_not_finished(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", PAIR)
    path.write_bytes(path.read_bytes() + bytes(2 << 20))
    assert "are zero: not all was downloaded" in _refused(path)


def test_a_size_that_leads_backwards(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", PAIR)
    content = bytearray(path.read_bytes())
    content[124:136] = b"\xff" * 10 + (-1024 % 2**16).to_bytes(2, "big")
    content[148:156] = b" " * 8
    content[148:155] = f"{sum(content[:512]):06o}\0".encode()
    path.write_bytes(content)
    assert "a.jpg, at byte 0, after 0 members, is cut off" in _refused(path)


def test_files_stored_as_sparse(tmp_path: Path) -> None:
    header = tarfile.TarInfo("a.jpg")
    header.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "a.jpg is stored as sparse" in _refused(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("pack", "name"),
    [(gzip.compress, "gzip"), (lzma.compress, "xz"), (lambda data: b"\x28\xb5\x2f\xfd" + data, "zstandard")],
)
def test_compressed_tars(tmp_path: Path, pack: object, name: str) -> None:
    assert callable(pack)
    path = write_tar(tmp_path / "a.tar", PAIR)
    path.write_bytes(pack(path.read_bytes()))
    assert f"compressed ({name})" in _refused(path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"<html>" * 200, "no tar"), (b"x", "no tar")]
)
def test_what_is_no_tar(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    assert reason in _refused(tmp_path / "a.tar")


def test_the_end_is_read_in_pieces(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", PAIR)
    content = path.read_bytes()
    path.write_bytes(content + bytes(200_000))
    assert scan(path).has_end
    path.write_bytes(content + bytes(200_000) + b"x")
    assert f"more data follows at byte {len(content) + 200_000:,}" in _refused(path)
    assert tar_module._MOST_PADDING_BYTES > 200_001


def test_files_are_closed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", PAIR)
    before = len(os.listdir("/proc/self/fd"))
    scan(path)
    assert len(os.listdir("/proc/self/fd")) == before
