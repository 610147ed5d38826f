import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.data import openfiles
from lib.data.dataset import Dataset, Samples, open_dataset
from lib.data.index import checksum
from lib.errors import RunError, UserError


@pytest.fixture
def copy(dataset: Dataset, tmp_path: Path) -> Path:
    """A copy of the digits that a test may damage."""
    return Path(shutil.copytree(dataset.root, tmp_path / "copy"))


def _first_of(samples: Samples, shard: int) -> int:
    return sum(samples.counts[:shard])


def test_every_sample_is_read_as_packed(dataset: Dataset) -> None:
    samples = dataset.samples("val")
    assert len(samples) == dataset.manifest.splits["val"].num_samples
    for sample_id in range(len(samples)):
        data = samples.read(sample_id)
        assert data.startswith(b"\x89PNG")
        assert checksum(data) == int(samples.rows([sample_id]).checksum[0])
    samples.close()


def test_a_flipped_byte_is_found(copy: Path) -> None:
    samples = open_dataset(str(copy)).samples("train")
    sample_id = _first_of(samples, 1)
    path = copy / "train/train-000001.tar"
    content = bytearray(path.read_bytes())
    content[int(samples.rows([sample_id]).offset[0]) + 40] ^= 1
    path.write_bytes(content)
    key = samples.keys([sample_id])[0]
    with pytest.raises(RunError, match=rf"train-000001\.tar has changed .* sample {key} does not match"):
        samples.read(sample_id)
    samples.read(sample_id + 1)


def test_a_short_shard_is_found(copy: Path) -> None:
    path = copy / "train/train-000000.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(RunError, match=r"train-000000\.tar has changed"):
        open_dataset(str(copy)).samples("train").read(1)


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "train/train-000001.tar").unlink()
    samples = open_dataset(str(copy)).samples("train")
    samples.read(0)
    with pytest.raises(RunError, match=r"cannot read the shard .*train-000001\.tar: No such file") as caught:
        samples.read(_first_of(samples, 1))
    assert "restore the shard" in caught.value.hint


def test_many_threads_read_from_more_shards_than_stay_open(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openfiles, "_MAX_OPEN", 1)
    samples = dataset.samples("train")
    assert len(samples.counts) > 1
    # One after the other from different shards.
    ids = [i * 977 % len(samples) for i in range(len(samples))]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(samples.read, ids))
    assert [checksum(data) for data in read] == samples.rows(ids).checksum.tolist()
    samples.close()


def test_shards_are_closed(copy: Path) -> None:
    def open_shards() -> int:
        links = (os.path.realpath(path) for path in Path("/proc/self/fd").iterdir())
        return sum(link.startswith(str(copy.resolve())) and link.endswith(".tar") for link in links)

    samples = open_dataset(str(copy)).samples("train")
    for shard in range(len(samples.counts)):
        samples.read(_first_of(samples, shard))
    assert open_shards() == len(samples.counts)
    samples.close()
    assert open_shards() == 0


def test_a_split_that_is_not_there(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="has no split 'training'") as caught:
        dataset.samples("training")
    assert caught.value.hint == "it has: train, val, test"


def test_a_dataset_without_an_index(copy: Path) -> None:
    (copy / "val/index.parquet").unlink()
    with pytest.raises(UserError, match="is missing"):
        open_dataset(str(copy)).samples("val")
