"""How weights follow gradients, and how the learning rate moves."""

from typing import Annotated, Literal

from pydantic import Field

from lib.config.section import Count, Fraction, Section

Optimizer = Literal["sgd", "adam", "adamw", "muon"]
Schedule = Literal["constant", "step", "cosine", "warm_restarts", "plateau", "one_cycle"]


class OptimSection(Section):
    """How weights follow gradients."""

    name: Optimizer = "adamw"
    """Optimizer; muon is for transformers: it takes the matrices within the network, adamw all else."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate, of the deepest group."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Decay of weights; biases and normalisation are left out."""
    momentum: Fraction = 0.9
    """Momentum of sgd and muon (0.95 is usual there)."""
    schedule: Schedule = "cosine"
    """How the learning rate moves, step by step. plateau moves it after epochs, by the validation loss."""
    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Linear warm-up from near zero to where the schedule begins, which runs over the epochs after it."""
    min_lr: Annotated[float, Field(ge=0)] = 1e-6
    """Where cosine, warm_restarts, plateau and one_cycle end."""
    step_epochs: Count = 3
    """step: epochs between two reductions."""
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """step and plateau: the learning rate is multiplied by this."""
    plateau_patience: Annotated[int, Field(ge=0)] = 5
    """plateau: epochs without a better validation loss before a reduction."""
    restart_epochs: Count = 3
    """warm_restarts: length n of the first cycle; each next one is twice as long, so n, 3n or 7n epochs after
    the warm-up end with a cycle."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each depth group learns at this factor of the rate of the next deeper one; the head at optim.lr."""
    head_lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the head, by default optim.lr; the schedule moves both in proportion."""
    layer_factors: list[Annotated[float, Field(gt=0)]] = Field(
        default=[], examples=[[0.1, 0.2, 0.4, 0.7, 1, 2]]
    )
    """Factors of optim.lr for each depth group from shallow to deep, the head last, instead of layer_decay
    and head_lr; --dry-run shows the groups."""
