"""Ray Train's controller in the process that starts the workers.

    InProcessTrainer(work, scaling_config=…, run_config=…).fit()      # a TorchTrainer

Ray Train makes an actor of the controller: a process that loads torch and everything of ours before a worker
is asked for (4 s of CPU, 900 MB), with helpers for Ray Data, autoscaling and clearing up. Here it is a
thread of a process that has all that, and ends with it.
"""

import asyncio
from typing import Any

import ray
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import Worker, WorkerGroup

from lib.cluster import is_own


class InProcessTrainer(TorchTrainer):
    """A `TorchTrainer` without Ray Data whose controller runs in the thread that calls `fit`."""

    def _create_default_callbacks(self) -> list[Any]:
        # The room of a driver goes with it; that of an actor only with its whole job, if nobody clears up.
        left_out = (DatasetsCallback, PlacementGroupCleanerCallback) if _is_driver() else (DatasetsCallback,)
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # typed as Ray Train v1
        return [each for each in callbacks if not isinstance(each, left_out)]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        if is_own() and _is_driver() and isinstance(parts["scaling_policy"], FixedScalingPolicy):
            parts["scaling_policy"] = _Quiet(parts["scaling_policy"].scaling_config)
        controller = _Controller(**parts)
        asyncio.run(controller.run())  # type: ignore[no-untyped-call]  # Ray has no types here
        return controller.get_result()


def _is_driver() -> bool:
    """Tell a driver from an actor, such as a trial of a study."""
    return ray.get_runtime_context().get_actor_id() is None


class _Quiet(FixedScalingPolicy):
    """Asks nobody for more nodes: an actor less."""

    def _maybe_send_resource_request(self) -> None:
        pass

    def after_controller_start(self, train_run_context: Any) -> None:
        pass


class _WorkerGroup(WorkerGroup):
    """Workers whose controller is no actor that they could ask for checkpoints."""

    def _init_train_context_on_workers(
        self, workers: list[Worker], sync_actor: Any, train_context_args: dict[str, list[Any]]
    ) -> None:
        told = [
            worker.actor.init_train_context.remote(
                train_run_context=self._train_run_context,
                distributed_context=worker.distributed_context,
                synchronization_actor=sync_actor,
                storage_context=self._storage_context,
                worker_callbacks=self._worker_callbacks_to_propagate,
                controller_actor=None,
                **{name: values[index] for name, values in train_context_args.items()},
            )
            for index, worker in enumerate(workers)
        ]
        ray.get(told)
        self._decorate_worker_log_file_paths(workers)


class _Controller(TrainController):
    worker_group_cls = _WorkerGroup
