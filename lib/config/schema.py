"""What a job may be told: one pydantic model per job, a docstring under every field.

These models are the single definition behind the command line, `--help`, the JSON schema of the
presets, and `config.yaml` in every run. They need no torch, so `--help` answers at once.

    FinetuneConfig(data={"root": "runs/digits"}).train.epochs
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lib.config.paths import is_uri

Freeze = Literal["none", "early", "most", "head", "gradual"]
Precision = Literal["fp32", "bf16", "fp16"]
Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "step", "cosine", "warm_restarts", "plateau", "one_cycle"]
Mix = Literal["none", "mixup", "cutmix", "both"]
Sampling = Literal["uniform", "class_balanced", "weighted"]

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _folder_name(text: str) -> str:
    """Accept a name that can be a folder: no separators, no leading dot, nothing a shell would mind."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", text):
        raise ValueError(f"{text!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
    return text


FolderName = Annotated[str, AfterValidator(_folder_name)]


class Section(BaseModel):
    """Base of every section: closed, frozen, described by its docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ReadingSection(Section):
    """Which images, and how they are read."""

    root: str = Field(examples=["runs/datasets/digits", "s3://bucket/photos"])
    """Dataset written by jobs/pack.py: a folder, or the URI of a copy (http://, https://, s3://, gs://)."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Decoding threads per worker; 0 takes one per core of the worker."""
    max_pixels: Count = 178_956_970
    """Images with more pixels than this are refused before they are decoded."""
    prefetch_mb: Annotated[float, Field(ge=0)] = 64.0
    """Decoded images that wait for the next steps, per worker."""
    max_bad_fraction: Fraction = 0.01
    """Images that cannot be used are replaced in training, left out of measuring and listed in
    quarantine.jsonl; more than this share of a split ends the run."""
    cache_gb: Annotated[float, Field(ge=0)] = 20.0
    """Local disk of each node for the shards of a remote dataset, in gigabytes; 0 keeps none."""
    cache_dir: str | None = None
    """Where they are kept; by default shards/ in $MANTA_CACHE, or in ~/.cache/manta."""


class DataSection(ReadingSection):
    """Which images, how they are read, and in which order."""

    source: str | None = None
    """Where to pack `data.root` from when it does not exist yet; the same words as jobs/pack.py source=."""
    shuffle_window_shards: Count = 16
    """Samples are shuffled within a window of this many shards; the shards themselves are shuffled too."""
    sampling: Sampling = "uniform"
    """uniform takes every training image once per epoch; class_balanced draws each class equally often,
    weighted as data.class_weights says, in as many draws as there are images. Evaluation takes each once."""
    class_weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """weighted: how often an image of a class is drawn, relative to the others; 1 for those not named."""

    @model_validator(mode="after")
    def _packs_locally(self) -> Self:
        if self.source is not None and is_uri(self.root):
            raise ValueError(
                "data.source is packed into a local folder, and data.root is a URI; leave one out"
            )
        return self


class ModelSection(Section):
    """Which network, and what it starts from."""

    name: str = Field(default="resnet18", examples=["resnet18", "lenet5", "timm:convnext_atto"])
    """A torchvision classification model, lenet5, mobilenet_v1, resnet8, resnet14, resnet20, timm:NAME, or
    package.module:function."""
    weights: str = Field(default="none", examples=["none", "default", "resnet18.safetensors"])
    """none starts from random weights, default takes the library's pretrained ones (a download), FILE
    takes a local .safetensors, .pth or .pt."""
    image_size: Count | None = None
    """Side of the square that the network sees; by default the network's own."""
    channels: Literal["auto", 1, 3] = "auto"
    """auto gives the network one channel when every picture of the dataset is grey; the first layer of
    pretrained weights is summed over its channels then, which changes no answer."""


class TrainSection(Section):
    """How long, how large, how exact."""

    epochs: Count = 10
    """Passes over the training split."""
    batch_size: Count = 64
    """Images per step, over all workers together."""
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
    label_smoothing: Fraction = 0.0
    """Share of the target spread over all classes."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient; none does not clip."""
    channels_last: bool = True
    """Store images channel by channel within a pixel, which convolutions prefer."""
    checkpoint_every_steps: Annotated[int, Field(ge=0)] = 0
    """Write resumable state every so many steps of an epoch, besides at its end; 0 does not."""
    checkpoint_every_s: Annotated[float, Field(ge=0)] = 300.0
    """Write resumable state when so many seconds have passed since the last; 0 does not."""


class OptimSection(Section):
    """How weights follow gradients."""

    name: Optimizer = "adamw"
    """Optimizer."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate, of the deepest group."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Decay of weights; biases and normalisation are left out."""
    momentum: Fraction = 0.9
    """Momentum of sgd."""
    schedule: Schedule = "cosine"
    """How the learning rate moves, step by step."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Linear warm-up before the schedule."""
    min_lr: Annotated[float, Field(ge=0)] = 1e-6
    """Where cosine, warm_restarts, plateau and one_cycle end."""
    step_epochs: Count = 10
    """step: epochs between two reductions."""
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """step and plateau: the learning rate is multiplied by this."""
    plateau_patience: Annotated[int, Field(ge=0)] = 5
    """plateau: epochs without a better validation loss before a reduction."""
    restart_epochs: Count = 10
    """warm_restarts: length of the first cycle; each next one is twice as long."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each group shallower than the head learns at this factor of the group above it."""


class AugmentSection(Section):
    """What training does to an image that evaluation does not."""

    policy: str = Field(default="standard", examples=["none", "light", "standard", "strong", "trivial"])
    """none, light (crop), standard (crop and flip), strong (crop, flip, colour, erasing), trivial,
    randaugment, autoaugment, or package.module:function."""
    min_crop: Annotated[float, Field(gt=0, le=1)] = 0.35
    """Smallest share of the image that a random crop takes; images of up to 64 pixels are shifted instead."""
    mix: Mix = "none"
    """Blend pairs of images and their labels within a batch."""
    mix_alpha: Annotated[float, Field(gt=0)] = 1.0
    """Parameter of the Beta distribution of the blend."""


class RunSection(Section):
    """Where it runs, and where the results go."""

    name: FolderName | None = None
    """Folder of this run under run.storage; by default the model and the time."""
    storage: str = "runs"
    """Folder that holds runs: local, or shared by all nodes."""
    resume: FolderName | None = None
    """Name of a run to go on with, at the exact step where it stopped."""
    num_workers: Annotated[int, Field(ge=0)] | Auto = "auto"
    """Data-parallel workers. auto: one per GPU, else one per node; 0 trains in this process without Ray."""
    use_gpu: bool | Auto = "auto"
    """auto uses GPUs when the cluster has any."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of initial weights, data order, augmentation and dropout."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often lost workers are started again, each time from the last state."""
    trace: bool = False
    """Write the keys that every step used to trace/ of the run, to prove what was used and when."""


class FinetuneConfig(Section):
    """Fine-tune a network on a packed dataset."""

    data: DataSection
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()
    optim: OptimSection = OptimSection()
    augment: AugmentSection = AugmentSection()
    run: RunSection = RunSection()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.optim.min_lr > self.optim.lr:
            raise ValueError(f"optim.min_lr={self.optim.min_lr:g} is above optim.lr={self.optim.lr:g}")
        if self.optim.warmup_epochs >= self.train.epochs:
            raise ValueError(
                f"optim.warmup_epochs={self.optim.warmup_epochs:g} leaves nothing of "
                f"train.epochs={self.train.epochs}"
            )
        if self.data.sampling == "weighted" and not self.data.class_weights:
            raise ValueError(
                "data.sampling=weighted needs data.class_weights, such as data.class_weights.cat=3"
            )
        if self.data.sampling != "weighted" and self.data.class_weights:
            raise ValueError("data.class_weights has no effect without data.sampling=weighted")
        if self.train.feature_views != "auto":
            self._check_feature_views()
        workers = self.run.num_workers
        if isinstance(workers, int) and self.train.batch_size < workers:
            raise ValueError(
                f"train.batch_size={self.train.batch_size} is less than run.num_workers={workers}; "
                "each worker needs an image per step"
            )
        return self

    def _check_feature_views(self) -> None:
        """Refuse views that could not be kept, or would all be the same."""
        train, views = self.train, f"train.feature_views={self.train.feature_views}"
        if train.features_gb == 0:
            raise ValueError(f"{views} has no effect with train.features_gb=0, which keeps no features")
        if train.freeze in ("none", "gradual"):
            raise ValueError(
                f"{views} needs a part that stays frozen: train.freeze=head, most or early, not "
                f"{train.freeze}"
            )
        if self.augment.mix != "none":
            raise ValueError(
                f"{views} keeps features of single pictures, and augment.mix={self.augment.mix} blends them; "
                "leave one out"
            )
        if self.augment.policy == "none" and train.feature_views != 1:
            raise ValueError(f"{views} would be the same picture each time with augment.policy=none")


class EvaluateRunSection(Section):
    """Where the evaluation runs."""

    num_workers: Annotated[int, Field(ge=0)] | Auto = "auto"
    """Workers that share the split. auto: one per GPU, else one per node; 0 evaluates in this process."""
    use_gpu: bool | Auto = "auto"
    """auto uses GPUs when the cluster has any."""


class EvaluateConfig(Section):
    """Measure a bundle on a split, every sample exactly once."""

    bundle: str = Field(examples=["runs/digits/bundle"])
    """Bundle folder written by jobs/finetune.py."""
    data: ReadingSection
    split: str = "test"
    """Split to measure."""
    batch_size: Count = 64
    """Images per forward pass."""
    out: str | None = None
    """Folder for the report; must not exist. By default runs/evaluations/ and a name with the time."""
    run: EvaluateRunSection = EvaluateRunSection()
