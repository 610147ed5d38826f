"""One measurement in a process of its own, so that memory and start-up are those of this work alone.

python benchmarks/probe.py loader DATASET THREADS      # seconds and memory to the first batch of a split
python benchmarks/probe.py plan SHARDS SAMPLES_PER_SHARD
python benchmarks/probe.py index FILE SHARDS SAMPLES_PER_SHARD

Prints one line of JSON. Imports count as memory, but not as time: every job has them.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BATCH_SIZE, WINDOW_SHARDS = 64, 16


@contextmanager
def measured(name: str, result: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    result[f"{name}_s"] = time.perf_counter() - started


def loader(result: dict[str, float], root: str, threads: str) -> None:
    from flat import SPEC, open_loader, plan_of

    result["rss_imports_mb"] = peak_mb()
    with measured("startup", result):
        samples, loader = open_loader(Path(root), int(threads))
        order = plan_of(samples, epoch=0)
        batches = loader.batches(map(order.batch, range(order.num_steps)))
        first = next(batches)
    assert first.pixels.shape[1:] == (SPEC.channels, SPEC.image_size, SPEC.image_size)
    batches.close()
    loader.close()
    samples.close()


def plan(result: dict[str, float], shards: str, samples_per_shard: str) -> None:
    from lib.data.sampling import EpochPlan

    counts = [int(samples_per_shard)] * int(shards)
    result["rss_imports_mb"] = peak_mb()
    with measured("startup", result):
        order = EpochPlan(counts, seed=0, epoch=0, batch_size=BATCH_SIZE, window_shards=WINDOW_SHARDS)
        ids, _ = order.batch(0)
    # How far the counts of the batches are even decides whether the first is full.
    assert len(ids) in (BATCH_SIZE - 1, BATCH_SIZE)


def index(result: dict[str, float], path: str, shards: str, samples_per_shard: str) -> None:
    import numpy as np

    from lib.data.index import open_index
    from lib.data.order import EpochOrder

    counts = [int(samples_per_shard)] * int(shards)
    window = EpochOrder(counts, 0, 0, WINDOW_SHARDS).take(0, WINDOW_SHARDS * counts[0])
    result["rss_imports_mb"] = peak_mb()
    with measured("startup", result):
        opened = open_index(path, counts, where=path)
        opened.rows(window[:BATCH_SIZE])
    with measured("window", result):
        rows = opened.rows(window)
    assert np.array_equal(rows.shard, window // counts[0])
    result["rss_mb"] = peak_mb()
    with measured("keys", result):
        opened.keys(window[:BATCH_SIZE])
    opened.close()


def peak_mb() -> float:
    """Return the most memory this process has had; not getrusage, which counts its parent's before it ran."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


PROBES: dict[str, Callable[..., None]] = {"loader": loader, "plan": plan, "index": index}


if __name__ == "__main__":
    from lib.runtime import prepare_process

    prepare_process()
    result: dict[str, float] = {}
    PROBES[sys.argv[1]](result, *sys.argv[2:])
    result.setdefault("rss_mb", peak_mb())
    print(json.dumps(result))
