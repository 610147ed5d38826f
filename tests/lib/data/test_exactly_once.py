"""Every sample of an epoch exactly once, however many workers take it and wherever they are interrupted.

The big version plans over shards that do not exist; the small one reads keys from real tars.
"""

import json
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webdataset import TarWriter

from lib.data.dataset import Samples, open_dataset
from lib.data.index import Row, checksum, write_index
from lib.data.manifest import INDEX, MANIFEST, Manifest, Shard, Split, digest_of
from lib.data.order import Ids
from lib.data.sampling import EpochPlan, Weights, class_balanced, class_weighted

CLASSES = 3
# Shards can be empty: all of their pictures were unreadable.
COUNTS = st.lists(st.one_of(st.just(0), st.integers(0, 120)), min_size=1, max_size=40)


@dataclass(frozen=True)
class Run:
    """How an epoch is taken: with `workers[n]` from step `starts[n]` on."""

    seed: int
    epoch: int
    batch_size: int
    window: int
    starts: list[int]
    workers: list[int]

    def plan(self, counts: list[int], weights: Weights | None = None) -> EpochPlan:
        """A new plan, as each process makes its own."""
        return EpochPlan(
            counts,
            seed=self.seed,
            epoch=self.epoch,
            batch_size=self.batch_size,
            window_shards=self.window,
            weights=weights,
        )

    def undisturbed(self, make: Callable[[], EpochPlan]) -> list[tuple[Ids, list[int]]]:
        """Every batch, by one worker."""
        plan = make()
        return [plan.batch(step) for step in range(plan.num_steps)]

    def interrupted(self, make: Callable[[], EpochPlan]) -> list[tuple[Ids, list[int]]]:
        """Every batch, put together from workers that are new, and others in number, at each start."""
        batches = []
        bounds = [*self.starts, make().num_steps]
        for (first, stop), workers in zip(pairwise(bounds), self.workers, strict=True):
            plans = [make() for _ in range(workers)]
            for step in range(first, stop):
                parts = [plan.batch(step, rank, workers) for rank, plan in enumerate(plans)]
                sizes = [len(ids) for ids, _ in parts]
                assert max(sizes) - min(sizes) <= 1
                assert sum(sizes) == plans[0].global_size(step)
                ids = np.concatenate([ids for ids, _ in parts])
                batches.append((ids, [seed for _, seeds in parts for seed in seeds]))
        return batches


@st.composite
def runs(draw: st.DrawFn, total: st.SearchStrategy[int] | int) -> Run:
    """A run of an epoch of `total` samples with up to five interruptions, also at the same step again."""
    num = total if isinstance(total, int) else draw(total)
    batch_size = draw(st.integers(1, 70))
    steps = -(-num // batch_size)
    starts = [0, *sorted(draw(st.lists(st.integers(0, steps), max_size=5)))]
    return Run(
        seed=draw(st.integers(0, 2**32 - 1)),
        epoch=draw(st.integers(0, 1000)),
        batch_size=batch_size,
        window=draw(st.integers(1, 50)),
        starts=starts,
        workers=draw(st.lists(st.integers(1, 9), min_size=len(starts), max_size=len(starts))),
    )


def _same(batches: list[tuple[Ids, list[int]]], expected: list[tuple[Ids, list[int]]]) -> bool:
    told = [[(ids.tolist(), seeds) for ids, seeds in each] for each in (batches, expected)]
    return told[0] == told[1]


@settings(max_examples=150, deadline=None)
@given(counts=COUNTS, data=st.data())
def test_every_id_once_in_one_order(counts: list[int], data: st.DataObject) -> None:
    run = data.draw(runs(sum(counts)))
    batches = run.undisturbed(lambda: run.plan(counts))
    assert sorted(i for ids, _ in batches for i in ids.tolist()) == list(range(sum(counts)))
    sizes = [len(ids) for ids, _ in batches]
    assert max(sizes, default=0) <= run.batch_size
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert _same(run.interrupted(lambda: run.plan(counts)), batches)


@settings(max_examples=100, deadline=None)
@given(
    counts=COUNTS,
    by_class=st.lists(st.floats(0.01, 100), min_size=CLASSES, max_size=CLASSES) | st.none(),
    data=st.data(),
)
def test_weighted_draws_are_as_many_and_in_one_order(
    counts: list[int], by_class: list[float] | None, data: st.DataObject
) -> None:
    total = sum(counts)
    run = data.draw(runs(total))
    labels = np.random.default_rng(run.seed).integers(0, CLASSES, total).astype(np.int32)
    if by_class is None:
        weights = class_balanced(labels, counts, num_classes=CLASSES)
    else:
        weights = class_weighted(labels, counts, by_class=by_class)
    batches = run.undisturbed(lambda: run.plan(counts, weights))
    times = Counter(i for ids, _ in batches for i in ids.tolist())
    assert times.total() == total
    assert set(times) <= set(range(total))
    assert weights.draws.sum() == total
    for sample_id, label in enumerate(labels.tolist()):
        low, rest = divmod(int(weights.draws[label]), int(weights.sizes[label]))
        assert times[sample_id] in (low, low + (rest > 0))
    seeds = [seed for _, seeds in batches for seed in seeds]
    assert len(set(seeds)) == total
    assert _same(run.interrupted(lambda: run.plan(counts, weights)), batches)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[int]], Samples]:
    """Pack shards of `counts` samples, bytes that say their key in place of pictures: counts -> Samples."""

    def write(counts: list[int]) -> Samples:
        root = tmp_path_factory.mktemp("exactly-once")
        (root / "train").mkdir()
        shards, rows = [], []
        for number, count in enumerate(counts):
            path = root / f"train/train-{number:06d}.tar"
            with path.open("wb") as file, TarWriter(file, encoder=False) as tar:
                for n in range(count):
                    key = f"{number}/{n}"
                    tar.write({"__key__": key, "jpg": key.encode(), "cls": str(n % CLASSES).encode()})
            with tarfile.open(path) as tar_file:
                pictures = [member for member in tar_file if member.name.endswith(".jpg")]
            keys = [member.name.removesuffix(".jpg") for member in pictures]
            rows.append(
                [
                    Row(key, n % CLASSES, member.offset_data, member.size, checksum(key.encode()))
                    for n, (key, member) in enumerate(zip(keys, pictures, strict=True))
                ]
            )
            size = path.stat().st_size
            shards.append(Shard(path=f"train/{path.name}", num_samples=count, size_bytes=size, sha256=""))
        write_index(root / "train" / INDEX, rows, [[(1, 1)] * count for count in counts])
        classes = [str(label) for label in range(CLASSES)]
        splits = {"train": Split(num_samples=sum(counts), shards=shards)}
        manifest = Manifest(classes=classes, splits=splits, source="test", digest=digest_of(classes, splits))
        (root / MANIFEST).write_text(manifest.model_dump_json())
        return open_dataset(str(root)).samples("train")

    return write


@pytest.mark.parametrize("is_weighted", [False, True])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=12), data=st.data())
def test_keys_read_from_tars(
    tars: Callable[[list[int]], Samples], is_weighted: bool, counts: list[int], data: st.DataObject
) -> None:
    run = data.draw(runs(sum(counts)))
    samples = tars(counts)
    balanced = class_balanced(samples.labels(), counts, num_classes=CLASSES)
    weights = balanced if is_weighted else None

    def keys(batches: list[tuple[Ids, list[int]]]) -> list[str]:
        found = []
        for ids, _ in batches:
            rows = samples.rows(ids)
            read = [samples.read_row(rows, position).decode() for position in range(len(ids))]
            assert samples.keys(ids) == read
            assert rows.label.tolist() == [int(key.partition("/")[2]) % CLASSES for key in read]
            found += read
        return found

    undisturbed = keys(run.undisturbed(lambda: run.plan(counts, weights)))
    assert keys(run.interrupted(lambda: run.plan(counts, weights))) == undisturbed
    stored = [f"{number}/{n}" for number, count in enumerate(counts) for n in range(count)]
    if is_weighted:
        assert len(undisturbed) == len(stored)
        assert set(undisturbed) <= set(stored)
    else:
        assert Counter(undisturbed) == Counter(stored)
    samples.close()


@pytest.mark.integration
def test_a_billion_samples_in_bounded_memory() -> None:
    # A process of its own: the most memory it ever had is that of the plan and its first batch.
    code = """
import json
from pathlib import Path
from lib.data.sampling import EpochPlan
def plan():
    return EpochPlan([10_000] * 100_000, seed=0, epoch=0, batch_size=1000, window_shards=16)
first = [plan().batch(0, rank, 8)[0].tolist() for rank in range(8)]
late = plan().batch(976_000)[0].tolist()
# Not getrusage: it counts what the process that started this one had.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak_mb = int(status["VmHWM"].split()[0]) / 1024
print(json.dumps({"peak_mb": peak_mb, "first": first, "late": late}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["peak_mb"] < 200
    first = [i for part in told["first"] for i in part]
    assert len(set(first)) == len(first) == 1000
    assert len({i // 10_000 for i in first}) == 16
    assert not set(first) & set(told["late"])
