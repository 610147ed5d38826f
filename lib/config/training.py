"""How long a network is trained, on how much at once, and how exactly."""

from typing import Annotated, Literal

from pydantic import Field

from lib.config.section import Auto, Count, Fraction, Section, Weight

Freeze = Literal["none", "early", "most", "head", "gradual"]
Precision = Literal["fp32", "bf16", "fp16"]
Shard = Literal["none", "full"]
Loss = Literal["cross_entropy", "focal"]


class ResizeStage(Section):
    """Some epochs at another image size."""

    until_epoch: Count
    """Last epoch of the stage, counted from 1; it begins where the stage before it ends."""
    image_size: Count
    """Side of the square that the network sees meanwhile."""
    lr_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The learning rate of the schedule is multiplied by this."""
    batch_size: Count | None = None
    """Images per step, over all workers together; by default train.batch_size."""


class TrainSection(Section):
    """How long, how large, how exact."""

    epochs: Count = 10
    """Passes over the training split."""
    batch_size: Count = 64
    """Images per step, over all workers together."""
    resize: list[ResizeStage] = Field(
        default=[],
        examples=[[{"until_epoch": 4, "image_size": 96, "lr_factor": 2.0, "batch_size": 256}]],
    )
    """Progressive resizing: stages {until_epoch, image_size, lr_factor, batch_size}, the last two optional.
    Epochs after the last stage are at model.image_size, and so is all measuring."""
    freeze: Freeze = "none"
    """Which part of the backbone stays as it is: none, early (the first 60 %), most (all but the last
    stage), head (train the head alone), gradual (thaw from the head down)."""
    features_gb: Annotated[float, Field(ge=0)] = 10.0
    """Local disk of each node for the output of the frozen part of the network, which is then computed once
    and shared by epochs, runs and trials: features/ in $MANTA_CACHE, or in ~/.cache/manta; 0 keeps none."""
    feature_views: Count | Auto = "auto"
    """Pictures of each image for which that is kept. auto: one, where augment.policy=none shows no others; N
    draws N by augment.policy, and epoch after epoch takes the next of them."""
    precision: Precision = "fp32"
    """Arithmetic of the forward pass; bf16 and fp16 use autocast."""
    loss: Loss = "cross_entropy"
    """cross_entropy, or focal, which turns to what is still wrong; both take mixed targets."""
    focal_gamma: Weight = 2.0
    """focal: a class that is right with probability p counts (1 - p) to this power."""
    class_weights: Literal["none", "auto"] | dict[str, Weight] = "none"
    """How much an image of a class counts in the loss. auto: the rarer the more, 1 in the mean over the
    training images; or a mapping, with 1 for those not named. The other way is data.sampling."""
    label_smoothing: Fraction = 0.0
    """Share of the target spread over all classes."""
    teacher: str | Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, examples=["runs/large/bundle"]
    )
    """Bundle whose answers are learnt besides the labels, or a list of which the mean is taken."""
    teacher_temperature: Weight = 2.0
    """How far the answers of teacher and student are softened before they are compared."""
    teacher_weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the teacher in the loss; the labels have the rest."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient; none does not clip."""
    accumulate: Count = 1
    """Compute each step in so many pieces, one after the other: less memory, the same gradient."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Evaluate and export a moving average of the weights, of which each step keeps this share (usually
    0.999; less in the first steps); none takes the weights as they are."""
    early_stop_patience: Count | None = None
    """Stop after so many epochs without a better validation; none takes all epochs."""
    shard: Shard = "none"
    """full: workers share out weights, gradients and the state of the optimizer (FSDP2, ZeRO stage 3), for
    networks that do not fit: less memory with each worker, and each block is gathered when it is computed.
    Tested with gloo on CPUs; it has not been run on GPUs."""
    sync_batchnorm: bool = False
    """Take the statistics of batch normalisation over the images of all workers; on GPUs only."""
    channels_last: bool = True
    """Store images channel by channel within a pixel, which convolutions prefer."""
    compile: bool = False
    """Compile the network with torch.compile for training: minutes at the start, then faster steps; needs a
    C++ compiler on every node."""
    checkpoint_activations: bool = False
    """Keep only what goes into each block of the network, and compute the block again for its gradient: less
    memory, about a third more work, the same result."""
    checkpoint_every_steps: Annotated[int, Field(ge=0)] = 0
    """Write resumable state every so many steps of an epoch, besides at its end; 0 does not."""
    checkpoint_every_s: Annotated[float, Field(ge=0)] = 300.0
    """Write resumable state when so many seconds have passed since the last; 0 does not. In any case it is
    written when the run is told to stop (SIGTERM, Ctrl-C), and when nodes are about to change."""

    @property
    def teachers(self) -> list[str]:
        """The bundles of `teacher`: none, one or more."""
        return [self.teacher] if isinstance(self.teacher, str) else self.teacher or []
