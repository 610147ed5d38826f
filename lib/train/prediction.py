"""Answer many pictures part by part, in this process or with Ray Data, and go on where a job was stopped.

plan = plan_prediction(config)
result = predict(plan, say)          # writes plan.folder

The rows that Ray Data moves are numbers of parts; its actors read the pictures themselves, in threads, and
write what they answered. So pixels are never copied between processes, and a part that is written is not
answered again.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from lib.cluster import connect, local_device, place
from lib.console import duration
from lib.data.quarantine import QUARANTINE, Quarantine
from lib.errors import MantaError, RunError
from lib.files import write_text
from lib.predict.batch import SCHEMA, PartWriter, bad_of, part_path
from lib.train.prediction_plan import PREDICTIONS, RESULT, PredictionPlan, open_job
from lib.train.progress import INTERVAL_S

Say = Callable[[str], None]


def predict(plan: PredictionPlan, say: Say) -> dict[str, Any]:
    """Answer every picture of the input once, and return the content of `result.json`.

    Raises `UserError` if the folder cannot be used, `RunError` if too many pictures cannot be used.
    """
    open_job(plan)
    quarantine = Quarantine({plan.name: plan.num_images}, plan.config.read.max_bad_fraction, tell=say)
    done = [number for number in range(plan.num_parts) if part_path(plan.parts, number).is_file()]
    for number in done:
        quarantine.merge(bad_of(part_path(plan.parts, number)))
    if done:
        say(f"going on: {len(done):,} of {plan.num_parts:,} parts are written")
    left = sorted(set(range(plan.num_parts)) - set(done))
    # Starting is left out: the clock runs from the first part on.
    told = started = 0.0
    images, rate = 0, None
    for count, (number, answered) in enumerate(_answered(plan, left)):
        quarantine.merge(bad_of(part_path(plan.parts, number)))
        now = time.monotonic()
        if not count:
            told = started = now
            continue
        images += answered
        rate = images / max(1e-9, now - started)
        if now - told >= INTERVAL_S:
            told, rest = now, duration((len(left) - count - 1) * (now - started) / count)
            say(f"part {len(done) + count + 1}/{plan.num_parts}  {rate:,.0f} images/s  {rest} left")
    return _finish(plan, quarantine, rate)


def _answered(plan: PredictionPlan, parts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield each part when it is written, with the number of pictures that were answered."""
    run = plan.config.run
    if run.num_workers == 0:
        worker = PartWorker(plan, local_device(run.use_gpu), torch.get_num_threads())
        for number in parts:
            yield number, worker.write(number)
        worker.close()
    elif parts:
        yield from _on_ray(plan, parts)


def _on_ray(plan: PredictionPlan, parts: Sequence[int]) -> Iterator[tuple[int, int]]:
    connect()
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    placement = place(plan.config.run.num_workers, plan.config.run.use_gpu)
    workers = min(placement.workers, len(parts))
    numbers = ray.data.from_items([{"part": number} for number in parts], override_num_blocks=len(parts))
    answered = numbers.map_batches(
        PartWorker,
        fn_constructor_args=(plan, "cuda" if placement.gpu else "cpu", max(1, int(placement.cpus))),
        compute=ray.data.ActorPoolStrategy(size=workers),
        batch_size=1,
        num_cpus=placement.cpus,
        num_gpus=1 if placement.gpu else None,
    )
    for row in answered.iter_rows():
        if row["problem"]:
            raise RunError(row["problem"], row["hint"])
        yield int(row["part"]), int(row["answered"])


class PartWorker:
    """A worker of its own process: opens bundle and input once, and answers parts."""

    def __init__(self, plan: PredictionPlan, device: str, threads: int) -> None:
        pictures = plan.open()
        self._writer = PartWriter(plan.bundle, pictures, plan.config, plan.parts, device, threads)

    def write(self, number: int) -> int:
        """Answer a part; return how many pictures were answered."""
        return self._writer.write(number)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Answer the part of a batch of one; what a user may see comes back as a sentence."""
        number = int(batch["part"][0])
        try:
            return {"part": [number], "answered": [self.write(number)], "problem": [""], "hint": [""]}
        except MantaError as error:
            return {"part": [number], "answered": [0], "problem": [error.problem], "hint": [error.hint]}

    def close(self) -> None:
        """Let go of files and threads."""
        self._writer.close()


def _finish(plan: PredictionPlan, quarantine: Quarantine, rate: float | None) -> dict[str, Any]:
    """Put the parts together to one file, and write the result."""
    used: dict[int, int] = {}
    temporary = plan.folder / f".{PREDICTIONS}.partial"
    answered = abstained = 0
    with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for number in range(plan.num_parts):
            table = pq.read_table(part_path(plan.parts, number)).replace_schema_metadata(None)
            writer.write_table(table)
            answered += len(table)
            abstained += pc.sum(table["abstained"]).as_py() or 0
            for members in table["members_used"].to_pylist():
                used[members] = used.get(members, 0) + 1
    temporary.replace(plan.folder / PREDICTIONS)
    quarantine.write(plan.folder / QUARANTINE)
    result = {
        "bundle": str(plan.bundle.path),
        "version": plan.bundle.version,
        "input": plan.config.input,
        "predictions": str(plan.folder / PREDICTIONS),
        "num_images": plan.num_images,
        "answered": answered,
        "bad_samples": len(quarantine),
        "images_per_s": rate,
    }
    if plan.config.abstain_below is not None:
        result["abstained"] = abstained
    if len(plan.bundle.bundles) > 1:
        members = range(1, len(plan.bundle.bundles) + 1)
        result["members_used"] = [used.get(each, 0) / max(1, answered) for each in members]
    write_text(plan.folder / RESULT, json.dumps(result, indent=1) + "\n")
    shutil.rmtree(plan.parts)
    return result
