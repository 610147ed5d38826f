"""What each trial gets of the cluster, and how many fit at a time.

shares = share_cluster(config, num_trials=12)
shares.resources()                  # for Ray Tune
"""

from dataclasses import dataclass

import ray
from ray.tune import PlacementGroupFactory

from lib.cluster import Placement
from lib.config.tune import TuneConfig
from lib.errors import UserError


@dataclass(frozen=True)
class Shares:
    """Trials at a time, and what each of their workers gets."""

    at_a_time: int
    workers: int
    cpus: float
    gpus: float
    is_limited: bool
    """Whether fewer run than there is room for."""

    @property
    def placement(self) -> Placement:
        """Workers of a trial as its run sees them: none trains in the process of the trial."""
        return Placement(self.workers if self.workers > 1 else 0, self.gpus > 0, self.cpus)

    def resources(self) -> PlacementGroupFactory:
        """Return what Ray Tune reserves: all, or next to nothing where Ray Train reserves for its group."""
        if self.workers > 1:
            # On this node, of which every trial takes a hair: an empty request is none for Ray Tune.
            address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # as below
            return PlacementGroupFactory([{f"node:{address}": 0.001}])
        return PlacementGroupFactory([{"CPU": self.cpus, "GPU": self.gpus}])

    def line(self) -> str:
        """Describe them for a person."""
        each = f"{self.cpus:g} core{'s' * (self.cpus != 1)}" + (f", {self.gpus:g} GPU" if self.gpus else "")
        group = f"{self.workers} workers with {each}" if self.workers > 1 else each
        return f"{self.at_a_time} trial{'s' * (self.at_a_time > 1)} at a time, {group} each"


def share_cluster(config: TuneConfig, num_trials: int) -> Shares:
    """Share out the cluster that is connected among trials.

    Raises `UserError` if not even one fits.
    """
    study, workers = config.study, config.workers
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray has no types
    cores, all_gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
    is_gpu = all_gpus > 0 if config.run.use_gpu == "auto" else config.run.use_gpu
    if not is_gpu and study.trial_gpus != 1:
        raise UserError(
            f"study.trial_gpus={study.trial_gpus:g} has no effect: trials run on CPUs", "leave it out"
        )
    gpus = study.trial_gpus if is_gpu else 0.0
    if gpus > 0 and all_gpus < gpus * workers:
        hint = "set run.use_gpu=auto, or fewer run.num_workers"
        raise UserError(f"a trial needs {gpus * workers:g} GPUs; the cluster has {all_gpus:g}", hint)
    wanted = num_trials if study.concurrency == "auto" else min(num_trials, study.concurrency)
    by_gpu = int(all_gpus // (gpus * workers)) if gpus else num_trials
    if study.trial_cpus == "auto":
        # As many trials as there are cores, and all cores for them.
        beside = max(1, min(wanted, by_gpu, int(cores // workers)))
        cpus = max(1.0, cores // (beside * workers))
    else:
        cpus = study.trial_cpus
    room = min(int(cores // (cpus * workers)), by_gpu)
    if room < 1:
        hint = "set fewer run.num_workers, or less study.trial_cpus"
        raise UserError(f"a trial needs {cpus * workers:g} cores; the cluster has {cores:g}", hint)
    at_a_time = max(1, min(room, wanted))
    return Shares(at_a_time, workers, cpus, gpus, at_a_time < min(room, num_trials))
