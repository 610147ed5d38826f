import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config.schema import EvaluateConfig, FinetuneConfig
from lib.data import filler, retry
from lib.data.cache import CacheSettings
from lib.data.dataset import Dataset, Samples, open_dataset
from lib.data.loader import Loader
from lib.data.reader import DamagedSample
from lib.errors import RunError, UserError
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec
from lib.train.evaluation import evaluate_bundle
from lib.train.evaluation_plan import plan_evaluation
from lib.train.launch import train
from lib.train.plan import plan_run
from lib.train.world import World
from tests.lib.data.servers import Server, files_of, forwarded, put_objects, serve, serve_s3

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(retry, "MOST_WAIT_S", 0.05)
    monkeypatch.setenv("MANTA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server(digits: Path) -> Iterator[Server]:
    with serve(files_of(digits)) as running:
        yield running


def _contents(samples: Samples, batch_size: int = 64) -> list[bytes]:
    """Read all samples as a loader does: announced batch by batch, two ahead."""
    ids = np.random.default_rng(0).permutation(len(samples))
    batches = [samples.rows(part) for part in np.array_split(ids, -(-len(ids) // batch_size))]
    found = {}
    for number, rows in enumerate(batches):
        for announced in batches[:3] if number == 0 else batches[number + 2 : number + 3]:
            samples.read_ahead(announced)
        for position, sample_id in enumerate(rows.ids.tolist()):
            found[sample_id] = samples.read_row(rows, position)
    return [found[n] for n in range(len(samples))]


def _expected(dataset: Dataset, split: str) -> list[bytes]:
    with closing(dataset.samples(split)) as samples:
        return [samples.read(n) for n in range(len(samples))]


def _wait_until_cached(folder: Path, shards: int) -> None:
    end = time.monotonic() + 60
    while len(list(folder.glob("*.tar"))) < shards:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_dataset_over_http_is_the_same(server: Server, dataset: Dataset) -> None:
    remote = open_dataset(server.url)
    assert remote.manifest == dataset.manifest
    for split in dataset.manifest.splits:
        with closing(remote.samples(split)) as samples, closing(dataset.samples(split)) as own:
            assert samples.is_remote
            assert not own.is_remote
            assert np.array_equal(samples.labels(), own.labels())
            assert samples.keys([0, 5]) == own.keys([0, 5])
            assert _contents(samples) == _expected(dataset, split)


@pytest.mark.parametrize("fault", ["drop", "reset", "truncate", "503", "corrupt", "slow"])
def test_faults_on_the_way(server: Server, dataset: Dataset, fault: str) -> None:
    with closing(open_dataset(server.url).samples("val")) as samples:
        # What is damaged is asked for once more.
        times = 1 if fault == "corrupt" else 3
        server.faults += [*[fault] * times, "", "", "", ""] * 3
        assert _contents(samples) == _expected(dataset, "val")
        assert len(server.faults) <= 3 * (times + 4) - 3


def test_consecutive_samples_take_few_requests(server: Server) -> None:
    with closing(open_dataset(server.url).samples("test")) as samples:
        server.requests.clear()
        for first in range(0, 160, 32):
            samples.read_ahead(samples.rows(range(first, first + 32)))
        for sample_id in range(160):
            samples.read(sample_id)
        assert len(server.requests) == 5


def test_the_second_epoch_makes_no_requests(server: Server, dataset: Dataset, tmp_path: Path) -> None:
    expected = _expected(dataset, "train")
    remote = open_dataset(server.url, CacheSettings(10**9))
    with closing(remote.samples("train")) as samples:
        assert _contents(samples) == expected
        _wait_until_cached(tmp_path / "cache/shards", len(samples.counts))
        server.requests.clear()
        assert _contents(samples) == expected
        assert server.requests == []
    # Nor does the next run, but for the manifest and the index.
    with closing(open_dataset(server.url, CacheSettings(10**9)).samples("train")) as samples:
        server.requests.clear()
        assert _contents(samples) == expected
        assert server.requests == []


def test_a_cache_that_holds_a_part(
    server: Server, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = dataset.manifest.splits["train"].shards
    limit = sum(shard.size_bytes for shard in shards) - 1
    with closing(open_dataset(server.url, CacheSettings(limit)).samples("train")) as samples:
        for _ in range(3):
            assert _contents(samples) == _expected(dataset, "train")
            _wait_until_cached(tmp_path / "cache/shards", len(shards) - 1)
    # What is in stays in: each shard that fitted was downloaded once.
    whole = [path for path, _, size in server.ranges if size in {shard.size_bytes for shard in shards}]
    assert len(whole) == len(set(whole)) == len(shards) - 1


def test_without_a_cache_nothing_is_written(server: Server, tmp_path: Path) -> None:
    with closing(open_dataset(server.url).samples("val")) as samples:
        _contents(samples)
    assert not (tmp_path / "cache").exists()


def test_a_cached_shard_that_rots_is_replaced(server: Server, dataset: Dataset, tmp_path: Path) -> None:
    remote = open_dataset(server.url, CacheSettings(10**9))
    with closing(remote.samples("val")) as samples:
        _contents(samples)
        _wait_until_cached(tmp_path / "cache/shards", 1)
    (cached,) = (tmp_path / "cache/shards").glob("*.tar")
    content = bytearray(cached.read_bytes())
    content[1600] ^= 1  # within the first picture
    cached.write_bytes(content)
    with closing(remote.samples("val")) as samples:
        assert _contents(samples) == _expected(dataset, "val")
    assert not cached.exists()


@pytest.fixture
def damaged(digits: Path, tmp_path: Path) -> Iterator[Server]:
    """A dataset of which the server itself has a flipped bit, and a shard that is cut off."""
    root = Path(shutil.copytree(digits, tmp_path / "damaged"))
    content = bytearray((root / "val/val-000000.tar").read_bytes())
    content[1600] ^= 1
    (root / "val/val-000000.tar").write_bytes(content)
    content = bytearray((root / "test/test-000000.tar").read_bytes())
    (root / "test/test-000000.tar").write_bytes(content[: len(content) // 2])
    with serve(files_of(root)) as running:
        yield running


@pytest.mark.parametrize("cache", [None, CacheSettings(10**9)])
def test_damage_at_the_source_is_named(damaged: Server, cache: CacheSettings | None) -> None:
    with closing(open_dataset(damaged.url, cache).samples("val")) as samples:
        samples.read_ahead(samples.rows(range(3)))
        key = samples.keys([0])[0]
        with pytest.raises(DamagedSample, match=rf"val-000000\.tar has changed .* sample {key} does"):
            samples.read(0)
        samples.read(1)


def test_a_shard_that_is_cut_off(damaged: Server) -> None:
    with closing(open_dataset(damaged.url).samples("test")) as samples:
        samples.read_ahead(samples.rows(range(len(samples))))
        samples.read(0)
        with pytest.raises(DamagedSample, match=r"test-000000\.tar has changed"):
            samples.read(len(samples) - 1)


def test_a_shard_that_is_gone(server: Server) -> None:
    with closing(open_dataset(server.url).samples("val")) as samples:
        server.always = "404"
        with pytest.raises(RunError, match=r"cannot read a shard: .*val-000000\.tar does not exist"):
            samples.read(0)


def test_what_is_no_dataset(server: Server) -> None:
    with pytest.raises(UserError, match=r"/none is not a dataset: it has no dataset\.json"):
        open_dataset(f"{server.url}/none")
    server.always = "403"
    with pytest.raises(UserError, match=r"dataset\.json may not be read"):
        open_dataset(server.url)


def test_a_missing_index(server: Server) -> None:
    dataset = open_dataset(server.url)
    server.always = "404"
    with pytest.raises(UserError, match=r"the index http://.*/val/index\.parquet is missing"):
        dataset.samples("val")


def test_a_loader_reads_ahead(server: Server, dataset: Dataset) -> None:
    spec = PreprocessSpec(8, 8, 1, mean=(0.5,), std=(0.5,))
    plan = [(np.arange(n, n + 30), [0] * 30) for n in range(0, 150, 30)]

    def load(samples: Samples) -> list[torch.Tensor]:
        loader = Loader(samples, lambda data, _seed: prepare(data, spec), (1, 8, 8), threads=2)
        with closing(samples), closing(loader):
            return [batch.pixels for batch in loader.batches(plan)]

    remote = open_dataset(server.url).samples("val")
    server.requests.clear()
    found = load(remote)
    assert len(server.requests) <= len(plan)
    assert all(torch.equal(a, b) for a, b in zip(found, load(dataset.samples("val")), strict=True))


def test_threads_end_with_the_samples(server: Server) -> None:
    import threading

    def names() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith(("read-ahead", "cache-filler"))]

    samples = open_dataset(server.url, CacheSettings(10**9)).samples("val")
    _contents(samples)
    assert names()
    samples.close()
    end = time.monotonic() + 60
    while names():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_shard_that_another_process_loads_is_looked_for_later(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "_PAUSE_S", 0.0)
    remote = open_dataset(server.url, CacheSettings(10**9))
    (shard,) = remote.manifest.splits["val"].shards
    folder = tmp_path / "cache/shards"
    with closing(remote.samples("val")) as samples:
        import fcntl

        with (folder / f"{shard.sha256}.partial").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            _contents(samples)
        _contents(samples)
        _wait_until_cached(folder, 1)


# jobs


def _wait_for_readers() -> None:
    """Wait for requests that are under way: they would go on to the server of another test."""
    for thread in threading.enumerate():
        if thread.name.startswith(("read-ahead", "cache-filler")):
            thread.join(timeout=60)
            assert not thread.is_alive()


def test_evaluation_over_http_equals_local(
    server: Server, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    results = []
    for name, root in (("local", str(digits)), ("remote", server.url)):
        config = EvaluateConfig.model_validate(
            {
                "bundle": str(digits_bundle),
                "data": {"root": root, "threads": 2},
                "out": str(tmp_path / name),
                "run": {"num_workers": 0},
            }
        )
        results.append(evaluate_bundle(plan_evaluation(config)))
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[1]["dataset"]["root"] == server.url


def test_training_over_s3_equals_local(
    dataset: Dataset,
    finetune_config: Callable[..., FinetuneConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    root = Path(dataset.root)
    objects = {f"sets/{p.relative_to(root)}": p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with serve_s3() as endpoint, serve(forwarded(endpoint)) as proxy:
        put_objects(endpoint, "bucket", objects)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        proxy.faults += ["", "503", "drop", "", "", "", "truncate", "reset"] * 3
        histories = []
        for name, place in (("local", dataset.root), ("remote", "s3://bucket/sets")):
            config = finetune_config(data__root=place, run__name=name)
            train(plan_run(config), World(), lambda _: None)
            text = (tmp_path / "runs" / name / "metrics.jsonl").read_text()
            histories.append([json.loads(line) for line in text.splitlines()])
        assert not proxy.faults
        _wait_for_readers()
    for local, remote in zip(*histories, strict=True):
        assert local["train"] == remote["train"]
        assert local["val"] == remote["val"]
