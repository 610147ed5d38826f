"""Run one pipeline in a process of its own, and print what it did as one line of JSON.

python benchmarks/measure.py manta FOLDER 64 2
"""

import json
import os
import sys
import time
from pathlib import Path

import psutil

from lib.runtime import prepare_process


def main() -> None:
    name, folder, batch_size, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if name.startswith(("manta", "limit")):
        prepare_process()  # as every entry point of Manta does
    from pipelines import PIPELINES, Corpus

    build, _ = PIPELINES[name]
    started = time.perf_counter()
    epoch = build(Corpus(folder / "photos", folder / "packed", folder / "resized"), batch_size, workers)
    batches = epoch()
    next(iter(batches))
    first_batch_s = time.perf_counter() - started
    for _ in batches:  # the rest of a first epoch: workers are up and caches are warm after it
        pass
    family = psutil.Process()
    cpu_before, begun, images, memory = _cpu_s(family), time.perf_counter(), 0, 0.0
    for number, batch in enumerate(epoch()):
        images += len(batch)
        if number == 0:
            memory = _memory_mb(family)
    wall_s = time.perf_counter() - begun
    cpu_s = _cpu_s(family) - cpu_before
    result = {
        "images": images,
        "images_per_s": images / wall_s,
        "cpu_ms_per_image": 1e3 * cpu_s / images,
        "memory_mb": memory,
        "first_batch_s": first_batch_s,
    }
    print(json.dumps(result), flush=True)
    os._exit(0)  # some peers' workers keep an interpreter from ending


def _cpu_s(family: psutil.Process) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in [family, *family.children(recursive=True)])


def _memory_mb(family: psutil.Process) -> float:
    """Return megabytes of the process and its workers; shared pages count once."""
    return sum(p.memory_full_info().pss for p in [family, *family.children(recursive=True)]) / 1e6


if __name__ == "__main__":
    main()
