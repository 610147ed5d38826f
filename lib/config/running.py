"""Where a job runs, and where its results go."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from lib.config.section import Auto, Count, FolderName, Section


class RunSection(Section):
    """Where it runs, and where the results go."""

    name: FolderName | None = None
    """Folder of this run under run.storage; by default the model and the time."""
    storage: str = "runs"
    """Folder that holds runs: local, or shared by all nodes."""
    resume: FolderName | None = None
    """Name of a run to go on with, at the exact step where it stopped."""
    num_workers: Annotated[int, Field(ge=0)] | tuple[Count, Count] | Auto = Field(
        default="auto", examples=["auto", 4, [2, 8]]
    )
    """Data-parallel workers. auto: one per GPU, else one per node; 0 trains in this process without Ray. A
    pair [2, 8] takes what the cluster has from 2 to 8, each a GPU or a node, and follows it: when nodes come
    or go, the run goes on from the last state, with the same batches."""
    use_gpu: bool | Auto = "auto"
    """auto uses GPUs when the cluster has any."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of initial weights, data order, augmentation and dropout."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often lost workers are started again, each time from the last state."""
    deterministic: bool = False
    """Same configuration, same hardware, same bits: algorithms of torch that are deterministic alone, and an
    error where there is none. Slower on GPUs. Needs a number of workers and train.checkpoint_every_s=0. From
    three workers on, state is not written when a node is about to be taken away: it would change how sums
    are rounded after it."""
    trace: bool = False
    """Write the keys that every step used to trace/ of the run, to prove what was used and when."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if isinstance(self.num_workers, tuple) and self.num_workers[0] > self.num_workers[1]:
            least, most = self.num_workers
            raise ValueError(
                f"run.num_workers=[{least}, {most}] is no range; did you mean [{most}, {least}]?"
            )
        return self

    @property
    def most_workers(self) -> int | None:
        """How many workers there may be at most; None if the cluster decides."""
        if isinstance(self.num_workers, tuple):
            return self.num_workers[1]
        return None if self.num_workers == "auto" else self.num_workers


class EvaluateRunSection(Section):
    """Where the evaluation runs."""

    num_workers: Annotated[int, Field(ge=0)] | Auto = "auto"
    """Workers that share the split. auto: one per GPU, else one per node; 0 evaluates in this process."""
    use_gpu: bool | Auto = "auto"
    """auto uses GPUs when the cluster has any."""
