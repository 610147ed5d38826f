"""The workers of a run, as one of them sees it: its rank, and how they add up and gather.

world = World()                      # alone, in this process
total = world.sum(torch.tensor([loss_sum, count]))
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


class News(IntEnum):
    """What a run can hear from outside."""

    NOTHING = 0
    LEAVING = 1
    """A node of the workers is about to be taken away."""
    JOINING = 2
    """A new node will make Ray start the workers again, more of them."""
    STOP = 3
    """Somebody wants the run to stop."""


@dataclass(frozen=True)
class World:
    """Rank of this worker among `size`, its device, and its cores."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    launched_at: float = field(default_factory=time.time)
    """When the run was started, in seconds since 1970."""
    news: Callable[[], News] = lambda: News.NOTHING
    """Tells at once what was heard last; that of worker 0 counts."""
    epoch_done: Callable[[dict[str, Any]], None] | None = None
    """Is told what each epoch but the last gave, once state is written; may wait, or raise to end the run."""

    def sum(self, values: Tensor) -> Tensor:
        """Add a tensor up over the workers."""
        values = values.to(self.device)
        if self.size > 1:
            dist.all_reduce(values)
        return values.cpu()

    def gather(self, value: T) -> list[T]:
        """Collect a value from every worker, in the order of ranks, on every worker."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def send(self, number: int) -> Callable[[], int]:
        """Begin to send a number of worker 0 to all; return what waits for it.

        It travels over gloo beside a step, so no step waits, on GPUs neither.
        """
        if self.size == 1:
            return lambda: number
        sent = torch.tensor([number])
        work = dist.broadcast(sent, src=0, group=self._beside, async_op=True)
        assert work is not None

        def wait() -> int:
            work.wait()
            return int(sent)

        return wait

    @cached_property
    def _beside(self) -> dist.ProcessGroup | None:
        """The workers once more, where they exchange gradients by other means than gloo."""
        if self.device.type == "cpu":
            return None
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup)
        return group

    def from_first(self, value: T) -> T:
        """Return the value that worker 0 gave."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap a model so that gradients are averaged over the workers; a sharded one does so itself."""
        if self.size == 1 or isinstance(model, FSDPModule):
            return model
        if not any(p.requires_grad for p in model.parameters()):
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def agree_on_buffers(self, model: nn.Module) -> None:
        """Give every worker the buffers of worker 0 (batch statistics differ after a step)."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Wait until every worker is here."""
        if self.size > 1:
            dist.barrier()
