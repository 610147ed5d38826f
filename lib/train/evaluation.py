"""Measure bundles or ensembles on a split of a dataset, in this process or shared by Ray tasks.

    plan = plan_evaluation(config)
    result = evaluate_bundle(plan)      # writes plan.folder

The workers need no collective: each takes its batches and returns its part of the table.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lib.cluster import connect, local_device, place, ray_map
from lib.data.quarantine import QUARANTINE, Entry, Quarantine
from lib.files import make_folder, make_partial, write_text
from lib.metrics import Outcomes
from lib.predict.engines import Wanted, choose_engine
from lib.predict.ensemble import Ensemble
from lib.predict.folder import Folder
from lib.predict.latency import TIMED_IMAGES, measure_latency
from lib.predict.loading import open_loaders
from lib.predict.scoring import score
from lib.report.gate import Latency
from lib.report.html import write_report
from lib.train.evaluation_plan import EvaluationPlan
from lib.train.evaluation_report import evaluation_report
from lib.train.findings import Measured, findings
from lib.train.verdict import reach_verdict, release_passed

R = TypeVar("R")
# Outcomes, how many images were answered by 0, 1, 2 … members, and what was bad.
Part = tuple[Outcomes, NDArray[np.int64], list[Entry]]


def evaluate_bundle(plan: EvaluationPlan) -> dict[str, Any]:
    """Evaluate every sample of the split once; write the results, and return the content of `result.json`.

    What passes the gate is copied, with the verdict. Raises `UserError` if the output folder cannot be
    written, before anything is computed.
    """
    make_folder(plan.folder.parent)
    folder = make_partial(plan.folder)
    try:
        quarantine = _quarantine(plan)
        measured = [_measure(plan, each, quarantine) for each in (plan.bundle, *plan.others)]
        quarantine.write(folder / QUARANTINE)
        latency = None if plan.config.gate.max_latency_ms is None else _timed(plan, measured[0][0].ids)
        result = _write(plan, measured, latency, folder, len(quarantine))
        folder.rename(plan.folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _measure(plan: EvaluationPlan, bundle: Folder, quarantine: Quarantine) -> Measured:
    """Evaluate one model on all of the split."""
    parts = list(_on_workers(plan, partial(_part, plan=plan, bundle=bundle)))
    for _, _, bad in parts:
        quarantine.merge(bad)
    used: NDArray[np.int64] = np.sum([counts for _, counts, _ in parts], axis=0)
    return Outcomes.concat([outcomes for outcomes, _, _ in parts]), used


def _timed(plan: EvaluationPlan, ids: NDArray[np.int64]) -> Latency:
    """Time some images of the split on one worker, while the others rest."""
    chosen = ids[np.unique(np.linspace(0, len(ids) - 1, min(TIMED_IMAGES, len(ids))).astype(int))]
    return next(iter(_on_workers(plan, partial(_time, plan=plan, ids=chosen), alone=True)))


def _on_workers(plan: EvaluationPlan, function: Callable[..., R], *, alone: bool = False) -> Iterable[R]:
    """Call a function with the rank of each worker, or on the first one alone, and with what it may use."""
    run = plan.config.run
    if run.num_workers == 0:
        device, threads = local_device(run.use_gpu), torch.get_num_threads()
        return [function(0, world_size=1, device=device, threads=threads)]
    connect()
    placement = place(run.num_workers, run.use_gpu)
    workers = 1 if alone else placement.workers
    call = partial(
        function,
        world_size=workers,
        device="cuda" if placement.gpu else "cpu",
        threads=max(1, int(placement.cpus)),
    )
    gpus = 1.0 if placement.gpu else 0.0
    return ray_map(call, range(workers), at_a_time=workers, cpus=placement.cpus, gpus=gpus)


def _quarantine(plan: EvaluationPlan) -> Quarantine:
    return Quarantine({plan.config.split: plan.num_samples}, plan.config.data.max_bad_fraction)


def _ensemble(bundle: Folder, device: str, threads: int) -> Ensemble:
    torch.set_num_threads(threads)
    return Ensemble(bundle, partial(choose_engine, wanted=Wanted("torch", "fp32", device=device)))


def _part(
    rank: int, *, plan: EvaluationPlan, bundle: Folder, world_size: int, device: str, threads: int
) -> Part:
    """Evaluate the batches of one worker."""
    ensemble = _ensemble(bundle, device, threads)
    samples = plan.dataset.samples(plan.config.split)
    quarantine = _quarantine(plan)
    loaders = open_loaders(samples, ensemble.kinds, plan.config.data, threads=threads, quarantine=quarantine)
    outcomes, used = score(
        ensemble,
        loaders,
        num_samples=len(samples),
        batch_size=plan.config.batch_size,
        rank=rank,
        world_size=world_size,
    )
    for loader in loaders.values():
        loader.close()
    samples.close()
    return outcomes, used, quarantine.entries()


def _time(
    _: int, *, plan: EvaluationPlan, ids: NDArray[np.int64], world_size: int, device: str, threads: int
) -> Latency:
    assert world_size == 1, "nothing else runs beside it"
    ensemble = _ensemble(plan.bundle, device, threads)
    samples = plan.dataset.samples(plan.config.split)
    images = [samples.read(int(each)) for each in ids]
    samples.close()
    where = f"torch on {device}, {threads} thread{'s' * (threads != 1)}"
    return measure_latency(ensemble, images, where=where, max_pixels=plan.config.data.max_pixels)


def _write(
    plan: EvaluationPlan, measured: list[Measured], latency: Latency | None, folder: Path, num_bad: int
) -> dict[str, Any]:
    """Write what was found into a folder, and return the content of `result.json`."""
    outcomes, reference = measured[0][0], measured[1][0] if plan.others else None
    samples = plan.dataset.samples(plan.config.split)
    result = findings(plan, measured, samples, num_bad)
    verdict = None
    if plan.config.gate.is_set:
        verdict = reach_verdict(plan, outcomes, reference, latency)
        result["gate"] = verdict.as_dict()
        if verdict.passed:
            result["released"] = str(plan.released)
    write_report(folder / "report", evaluation_report(plan, outcomes, samples, result))
    samples.close()
    if verdict is not None and verdict.passed:
        release_passed(plan, verdict, folder)
    outcomes.save(folder / "outcomes.npz")
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    return result
