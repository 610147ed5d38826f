import json
from pathlib import Path

import pytest

from lib.data.manifest import Manifest, Shard, Split, digest_of, read_manifest
from lib.errors import UserError


def _manifest() -> Manifest:
    shard = Shard(path="train/train-000000.tar", num_samples=3, size_bytes=10_240, sha256="ab")
    splits = {"train": Split(num_samples=3, shards=[shard])}
    digest = digest_of(["a", "é"], splits)
    return Manifest(classes=["a", "é"], splits=splits, source="test", digest=digest, channels=1)


def _write(root: Path, **changes: object) -> Path:
    values = {**_manifest().model_dump(), **changes}
    (root / "dataset.json").write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return root


def test_written_and_read(tmp_path: Path) -> None:
    manifest = read_manifest(str(_write(tmp_path)))
    assert manifest == _manifest()
    assert manifest.splits["train"].counts == [3]


def test_what_others_wrote_to_the_contract_is_read(tmp_path: Path) -> None:
    values = _manifest().model_dump()
    del values["channels"]
    (tmp_path / "dataset.json").write_text(json.dumps({**values, "remark": "theirs"}))
    assert read_manifest(str(tmp_path)).channels == 3


@pytest.mark.parametrize("found", [2, "1", None])
def test_an_unknown_format_is_refused(tmp_path: Path, found: object) -> None:
    with pytest.raises(UserError, match=f"has format {found!r}; this version reads format 1"):
        read_manifest(str(_write(tmp_path, format=found)))


def test_a_list_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match="has format None"):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b'{"format": 1', b"\xff\xfe"])
def test_damaged_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(UserError, match="is not JSON"):
        read_manifest(str(tmp_path))


def test_damaged_values_are_named(tmp_path: Path) -> None:
    splits = {"train": {"num_samples": "many", "shards": []}}
    with pytest.raises(UserError, match=r"is damaged: splits\.train\.num_samples: "):
        read_manifest(str(_write(tmp_path, splits=splits)))


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no dataset\.json"):
        read_manifest(str(tmp_path))
    with pytest.raises(UserError, match="no such folder") as caught:
        read_manifest(str(tmp_path / "missing"))
    assert "jobs/pack.py" in caught.value.hint


def test_the_digest_follows_the_rows_of_shards_in_place() -> None:
    shard = Shard(path="/theirs/s.tar", num_samples=1, size_bytes=1, sha256="a")
    chosen = [
        digest_of(["x", "y"], {"train": Split(num_samples=1, shards=[shard], rows_sha256=rows)})
        for rows in (None, "1", "2")
    ]
    assert len(set(chosen)) == 3


def test_the_digest_follows_the_content() -> None:
    def shard(sha256: str) -> Shard:
        return Shard(path="p", num_samples=1, size_bytes=1, sha256=sha256)

    splits = {"train": Split(num_samples=2, shards=[shard("a"), shard("b")])}
    swapped = {"train": Split(num_samples=2, shards=[shard("b"), shard("a")])}
    digests = {digest_of(["x", "y"], splits), digest_of(["y", "x"], splits), digest_of(["x", "y"], swapped)}
    assert len(digests) == 3
    assert digest_of(["x", "y"], splits) in digests
