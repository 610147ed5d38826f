"""How the cost of data grows with the number of shards and of samples: it should not.

    python benchmarks/scale.py
    python benchmarks/scale.py images=2000 shards=[10,100,2000] rounds=1 index_rows=200000     # a quick look

Measured are: images/s through the loader on the same pictures in few and in many shards, alternately; time
and memory of a fresh process to its first batch; a plan of very many samples; an index of very many rows; and
how well windows of shards shuffle in the worst case, a class per shard.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from probe import BATCH_SIZE, WINDOW_SHARDS
from pydantic import Field
from report import finish, print_table, read_settings

from lib.config.section import Count, Section
from lib.console import run_job
from lib.data.index import SCHEMA, IndexWriter
from lib.data.quality import shuffle_quality
from lib.errors import UserError

# Samples of a shard where nothing is read.
PER_SHARD = 1000
Figures = dict[str, float]


class Settings(Section):
    """What is measured, and how often."""

    images: Count = 20_000
    """Pictures that go through the loader."""
    shards: Annotated[tuple[Count, ...], Field(min_length=2)] = (10, 1_000, 20_000)
    """Numbers of shards that the pictures are packed in."""
    rounds: Count = 5
    """Epochs over each dataset, in turns; medians count."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Decoding threads; 0 takes one per core."""
    fresh: Count = 3
    """Fresh processes for each figure of one; medians count."""
    plan_shards: Count = 100_000
    """Shards of the large plan."""
    plan_samples: Count = 1_000_000_000
    """Samples of the large plan."""
    index_rows: Count = 6_000_000
    """Rows of the large index."""


def main() -> None:
    settings = read_settings(Settings, "scale", "Measure how the cost of data grows with shards and samples.")
    if max(settings.shards) > settings.images:
        raise UserError(
            f"images={settings.images} do not fill {max(settings.shards)} shards", "take more images"
        )
    with tempfile.TemporaryDirectory(prefix="manta-scale-") as folder:
        loading, probes = measure_loading(Path(folder), settings)
        plan = measure_plan(settings)
        index = measure_index(Path(folder), settings)
    quality = measure_quality()
    fresh = {**{(shards, settings.images): probes[shards] for shards in settings.shards}, **plan, **index}
    by_size = {f"{shards} shards, {samples} samples": figures for (shards, samples), figures in fresh.items()}
    startup_s = {size: round(figures["startup_s"], 4) for size, figures in by_size.items()}
    rss_mb = {size: round(figures["rss_mb"], 1) for size, figures in by_size.items()}
    finish(
        "scale",
        ratios={
            "startup_s": startup_s,
            "rss_mb": rss_mb,
            "slowest_over_fastest": _least_over_most(each["speed_of_mean"] for each in loading.values()),
            "least_cpu_over_most": _least_over_most(each["cpu_of_mean"] for each in loading.values()),
        },
        absolute={
            "loading": {str(shards): figures for shards, figures in loading.items()},
            "fresh_process": by_size,
            "class_deviation": quality,
        },
    )


def measure_loading(folder: Path, settings: Settings) -> tuple[dict[int, Figures], dict[int, Figures]]:
    """Return what the loader does, and what a fresh process needs for its first batch, by shards."""
    # Only here: torch is loaded after `run_job` has set up this process.
    from flat import load_in_turns, write_dataset

    threads = settings.threads or len(os.sched_getaffinity(0))
    roots = {shards: folder / str(shards) for shards in settings.shards}
    for shards, root in roots.items():
        write_dataset(root, num_images=settings.images, num_shards=shards)
    loading = load_in_turns(roots, threads, settings.rounds)
    fresh = {
        shards: _medians("loader", root, threads, times=settings.fresh) for shards, root in roots.items()
    }
    print_table(
        f"{settings.images:,} JPEG pictures of 256 x 256, {threads} threads, {settings.rounds} rounds",
        ["shards", "images/s", "of the mean", "CPU us per image", "of the mean"],
        [[shards, *figures.values()] for shards, figures in loading.items()],
    )
    print_table(
        "a fresh process, to its first batch",
        ["shards", "samples", "seconds", "peak MB", "of it imports"],
        [[shards, settings.images, *_columns(figures)] for shards, figures in fresh.items()],
    )
    return loading, fresh


def measure_plan(settings: Settings) -> dict[tuple[int, int], Figures]:
    """Return what the order of very many samples takes, up to its first batch."""
    per_shard = max(1, settings.plan_samples // settings.plan_shards)
    figures = _medians("plan", settings.plan_shards, per_shard, times=settings.fresh)
    samples = settings.plan_shards * per_shard
    print_table(
        "order of an epoch, to the first batch",
        ["shards", "samples", "seconds", "peak MB", "of it imports"],
        [[settings.plan_shards, samples, *_columns(figures)]],
    )
    return {(settings.plan_shards, samples): figures}


def measure_index(folder: Path, settings: Settings) -> dict[tuple[int, int], Figures]:
    """Return what opening a large index takes, and the rows of a window of shards."""
    shards = max(WINDOW_SHARDS, settings.index_rows // PER_SHARD)
    path = folder / "index.parquet"
    started = time.perf_counter()
    with IndexWriter(path) as writer:
        for first in range(0, shards, 1000):
            writer.append(_index_rows(range(first, min(first + 1000, shards))))
    write_s = time.perf_counter() - started
    figures = _medians("index", path, shards, PER_SHARD, times=settings.fresh)
    print_table(
        f"index, opened and read: the first {BATCH_SIZE} rows, then the window of {WINDOW_SHARDS} shards",
        ["rows", "file MB", "written s", "first rows s", "window s", "keys s", "peak MB", "of it imports"],
        [
            [
                shards * PER_SHARD,
                path.stat().st_size / 1e6,
                write_s,
                *(figures[name] for name in ("startup_s", "window_s", "keys_s", "rss_mb", "rss_imports_mb")),
            ]
        ],
    )
    return {(shards, shards * PER_SHARD): figures}


def measure_quality() -> dict[str, float]:
    """Return how far batches are from mixed, by window, for shards of one class each."""
    classes = 100
    labels = np.repeat(np.arange(classes, dtype=np.int32), PER_SHARD)
    windows = [1, 4, 16, 64, classes]
    found = [
        shuffle_quality([PER_SHARD] * classes, labels, seed=0, window_shards=window, batch_size=BATCH_SIZE)
        for window in windows
    ]
    print_table(
        f"shuffling {classes} shards of one class each; a perfect shuffle has 1 and 0",
        ["window of shards", "class deviation", "rank correlation"],
        [
            [window, each.class_deviation, each.rank_correlation]
            for window, each in zip(windows, found, strict=True)
        ],
    )
    return {str(window): round(each.class_deviation, 3) for window, each in zip(windows, found, strict=True)}


def _index_rows(shards: range) -> pa.Table:
    """Make rows as packing writes them: offsets that ascend, keys of folder and number, any checksum."""
    num = len(shards) * PER_SHARD
    rng = np.random.default_rng(shards.start)
    sizes = rng.integers(60_000, 110_000, num)
    steps = (sizes + 2048).reshape(len(shards), PER_SHARD)
    labels = rng.integers(0, 1000, num)
    columns = {
        "shard": np.repeat(np.array(shards), PER_SHARD),
        "key": [
            f"n{label:08d}/n{label:08d}_{number}"
            for label, number in zip(labels, rng.integers(0, 10**6, num), strict=True)
        ],
        "label": labels,
        "offset": (np.cumsum(steps, axis=1) - steps + 512).ravel(),
        "size_bytes": sizes,
        "checksum": rng.integers(0, 2**64, num, dtype=np.uint64),
        "width": np.full(num, 500),
        "height": np.full(num, 375),
    }
    return pa.table(
        {name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}, schema=SCHEMA
    )


def _medians(*words: object, times: int) -> Figures:
    """Run a probe some times, in a fresh process each, and return the median of each figure."""
    probe = Path(__file__).with_name("probe.py")
    command = [sys.executable, str(probe), *map(str, words)]
    told = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(times)
    ]
    return {name: statistics.median(each[name] for each in told) for name in told[0]}


def _least_over_most(values: Iterable[float]) -> float:
    found = sorted(values)
    return round(found[0] / found[-1], 4)


def _columns(figures: Figures) -> Sequence[float]:
    return [figures["startup_s"], figures["rss_mb"], figures["rss_imports_mb"]]


if __name__ == "__main__":
    run_job(main)
