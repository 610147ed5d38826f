import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.data.dataset import Dataset, open_dataset
from lib.data.loader import Batch, Loader
from lib.data.order import Ids
from lib.errors import RunError
from lib.images.augment import train_transform
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


def test_a_sample_that_does_not_decode_is_named(
    pack_up: Callable[..., object], folder: Callable[..., Path], picture: Callable[..., bytes], tmp_path: Path
) -> None:
    files = {f"{name}/{n}.png": picture(n) for name in "ab" for n in range(3)}
    pack_up(f"imagefolder:{folder(files)}", split={"val": 0.3, "test": 0})
    samples = open_dataset(tmp_path / "dataset").samples("train")
    # The limit of the run is lower than that of packing.
    transform = train_transform("none", SPEC, max_pixels=10)
    loader = Loader(samples, transform, SHAPE, threads=2)
    with closing(loader), pytest.raises(RunError) as caught:
        list(loader.batches([(np.array([0]), [0])]))
    assert str(caught.value).startswith(
        f"sample {samples.keys([0])[0]} of split train: the image has 12 x 10"
    )


def test_stopping_early_neither_hangs_nor_loads_the_rest(dataset: Dataset) -> None:
    calls: list[int] = []

    def transform(data: bytes, seed: int) -> Tensor:
        calls.append(seed)
        return prepare(data, SPEC)

    def endless() -> Iterator[tuple[Ids, list[int]]]:
        while True:
            yield np.arange(16), list(range(16))

    loader = Loader(dataset.samples("val"), transform, SHAPE, threads=2, prefetch_batches=3)
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

    loader = Loader(dataset.samples("val"), STANDARD, SHAPE, threads=1, prefetch_batches=0)
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
