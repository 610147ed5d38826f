import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.data.dataset import Dataset, Samples
from lib.data.loader import Batch, Loader
from lib.data.order import Ids
from lib.data.quarantine import Quarantine
from lib.errors import RunError
from lib.images.augment import train_transform
from lib.images.decode import ImageError
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec

SPEC = PreprocessSpec(8, 8, 1, mean=(0.5,), std=(0.5,))
SHAPE = (1, 8, 8)
STANDARD = train_transform("standard", SPEC)

Plan = list[tuple[Ids, list[int]]]


def _plan(total: int, batch_size: int) -> Plan:
    ids = np.random.default_rng(0).permutation(total)
    return [(part, part.tolist()) for part in np.array_split(ids, -(-total // batch_size))]


def _load(
    dataset: Dataset, plan: Plan, transform: Callable[[bytes, int], Tensor], threads: int
) -> list[Batch]:
    loader = Loader(dataset.samples("val"), transform, SHAPE, threads=threads)
    with closing(loader):
        return list(loader.batches(plan))


def test_batches_in_the_order_of_the_plan(dataset: Dataset) -> None:
    samples = dataset.samples("val")
    plan = [*_plan(len(samples), 32), (np.array([5]), [0]), (np.empty(0, np.int64), [])]
    batches = _load(dataset, plan, lambda data, _seed: prepare(data, SPEC), 3)
    assert len(batches) == len(plan)
    for batch, (ids, _) in zip(batches, plan, strict=True):
        assert batch.ids.tolist() == ids.tolist()
        assert batch.labels.tolist() == samples.labels()[ids].tolist()
        assert batch.labels.dtype == torch.int64
        assert batch.pixels.shape == (len(ids), *SHAPE)
        assert batch.pixels.dtype == torch.uint8
        for pixels, sample_id in zip(batch.pixels, ids, strict=True):
            assert torch.equal(pixels, prepare(samples.read(int(sample_id)), SPEC))


@pytest.mark.parametrize("threads", [1, 4])
def test_the_number_of_threads_changes_nothing(dataset: Dataset, threads: int) -> None:
    plan = _plan(90, 16)
    for batch, (ids, seeds) in zip(_load(dataset, plan, STANDARD, threads), plan, strict=True):
        samples = dataset.samples("val")
        expected = [STANDARD(samples.read(int(i)), seed) for i, seed in zip(ids, seeds, strict=True)]
        assert torch.equal(batch.pixels, torch.stack(expected))


def test_a_loader_serves_one_epoch_after_the_other(dataset: Dataset) -> None:
    loader = Loader(dataset.samples("val"), STANDARD, SHAPE, threads=2)
    with closing(loader):
        first, second = (list(loader.batches(_plan(40, 16))) for _ in range(2))
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))


def _unlike(samples: Samples, bad: set[int]) -> Callable[[bytes, int], Tensor]:
    """Return a transform that finds the pictures of some samples broken."""
    broken = {samples.read(sample_id) for sample_id in bad}

    def transform(data: bytes, seed: int) -> Tensor:
        if data in broken:
            raise ImageError("broken", "the image does not decode: on purpose")
        return STANDARD(data, seed)

    return transform


@pytest.mark.parametrize("threads", [1, 3])
def test_a_bad_sample_is_replaced_by_the_next_good_one(dataset: Dataset, threads: int) -> None:
    samples = dataset.samples("val")
    last = len(samples) - 1
    transform = _unlike(samples, {4, 5, last})
    said: list[str] = []
    quarantine = Quarantine({"val": len(samples)}, 0.1, said.append)
    loader = Loader(samples, transform, SHAPE, threads=threads, quarantine=quarantine, replace=True)
    with closing(loader):
        batch = next(loader.batches([(np.array([3, 4, 5, last]), [7, 8, 9, 10])]))
    assert batch.ids.tolist() == [3, 6, 6, 0]
    assert batch.labels.tolist() == samples.rows([3, 6, 6, 0]).label.tolist()
    for pixels, sample_id, seed in zip(batch.pixels, [3, 6, 6, 0], [7, 8, 9, 10], strict=True):
        assert torch.equal(pixels, STANDARD(samples.read(sample_id), seed))
    assert [key for _, key, _ in quarantine.entries()] == sorted(samples.keys([4, 5, last]))
    assert len(said) == 3


def test_a_bad_sample_is_left_out_when_measuring(dataset: Dataset) -> None:
    samples = dataset.samples("val")
    quarantine = Quarantine({"val": len(samples)}, 0.1)
    loader = Loader(samples, _unlike(samples, {0, 2}), SHAPE, threads=2, quarantine=quarantine)
    with closing(loader):
        batches = list(loader.batches([(np.arange(4), [0] * 4), (np.array([2]), [0])]))
    assert [batch.ids.tolist() for batch in batches] == [[1, 3], []]
    assert batches[0].pixels.shape == (2, *SHAPE)
    assert batches[0].labels.tolist() == samples.rows([1, 3]).label.tolist()
    assert quarantine.count("val") == 2


def test_too_many_bad_samples_end_the_run_with_the_list(dataset: Dataset) -> None:
    samples = dataset.samples("val")
    loader = Loader(samples, _unlike(samples, {1}), SHAPE, threads=2)
    with closing(loader), pytest.raises(RunError) as caught:
        list(loader.batches([(np.arange(4), [0] * 4)]))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"1 of {len(samples)} samples of split val cannot be used")
    assert lines[1] == f"{samples.keys([1])[0]}: the image does not decode: on purpose"
    assert "data.max_bad_fraction" in lines[-1]


def test_a_label_out_of_range_is_bad(dataset: Dataset) -> None:
    samples = dataset.samples("val")
    labels = samples.labels()
    samples.num_classes = int(labels.max())
    ids = np.arange(len(samples))
    quarantine = Quarantine({"val": len(samples)}, 0.9)
    loader = Loader(samples, STANDARD, SHAPE, threads=2, quarantine=quarantine)
    with closing(loader):
        batch = next(loader.batches([(ids, ids.tolist())]))
    assert batch.ids.tolist() == ids[labels < samples.num_classes].tolist()
    assert {reason for _, _, reason in quarantine.entries()} == {
        f"label {labels.max()} is out of range: there are {samples.num_classes} classes"
    }


def test_where_no_sample_is_good_the_run_ends(dataset: Dataset) -> None:
    samples = dataset.samples("val")
    quarantine = Quarantine({"val": len(samples)}, 1.0)

    def transform(_data: bytes, _seed: int) -> Tensor:
        raise ImageError("broken", "no")

    loader = Loader(samples, transform, SHAPE, threads=1, quarantine=quarantine, replace=True)
    with closing(loader), pytest.raises(RunError, match="no sample after"):
        list(loader.batches([(np.arange(2), [0, 0])]))


@pytest.mark.parametrize(("prefetch_mb", "ahead"), [(0, 2), (4 * 16 * 64 / 1e6, 4), (64, 16)])
def test_the_depth_of_loading_ahead_is_given_in_bytes(
    dataset: Dataset, prefetch_mb: float, ahead: int
) -> None:
    taken: list[int] = []

    def plan() -> Iterator[tuple[Ids, list[int]]]:
        for number in range(40):
            taken.append(number)
            yield np.arange(16), [0] * 16

    loader = Loader(dataset.samples("val"), STANDARD, SHAPE, threads=1, prefetch_mb=prefetch_mb)
    with closing(loader):
        batches = loader.batches(plan())
        next(batches)
        assert len(taken) == ahead + 1
        batches.close()


def test_stopping_early_neither_hangs_nor_loads_the_rest(dataset: Dataset) -> None:
    calls: list[int] = []

    def transform(data: bytes, seed: int) -> Tensor:
        calls.append(seed)
        return prepare(data, SPEC)

    def endless() -> Iterator[tuple[Ids, list[int]]]:
        while True:
            yield np.arange(16), list(range(16))

    loader = Loader(dataset.samples("val"), transform, SHAPE, threads=2, prefetch_mb=0)
    batches = loader.batches(endless())
    next(batches)
    batches.close()
    loader.close()
    assert 16 <= len(calls) <= 16 * 4
    assert not [t for t in threading.enumerate() if t.name.startswith("loader") and t.is_alive()]


def test_a_loader_closed_before_its_batches_does_not_hang(dataset: Dataset) -> None:
    loader = Loader(dataset.samples("val"), STANDARD, SHAPE, threads=1)
    batches = loader.batches(_plan(90, 16))
    next(batches)
    loader.close()
    batches.close()


def test_an_error_of_the_plan_reaches_the_caller(dataset: Dataset) -> None:
    def plan() -> Iterator[tuple[Ids, list[int]]]:
        yield np.arange(4), [0] * 4
        raise ValueError("broken plan")

    loader = Loader(dataset.samples("val"), STANDARD, SHAPE, threads=1)
    with closing(loader), pytest.raises(ValueError, match="broken plan"):
        list(loader.batches(plan()))


def test_torch_keeps_its_threads_outside_the_pool(dataset: Dataset) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def transform(data: bytes, _seed: int) -> Tensor:
        seen.append(torch.get_num_threads())
        return prepare(data, SPEC)

    _load(dataset, _plan(20, 8), transform, 2)
    assert set(seen) == {1}
    assert torch.get_num_threads() == before
