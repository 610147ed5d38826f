"""What a job may be told: one pydantic model per job, a docstring under every field.

These models are the single definition behind the command line, `--help`, the JSON schema of the
presets, and `config.yaml` in every run. They need no torch, so `--help` answers at once.

    FinetuneConfig(data={"root": "runs/digits"}).train.epochs
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lib.config.conflicts import (
    check_mix,
    check_optimisation,
    check_rates,
    check_schedule,
    check_shares,
    check_stages,
    check_workers,
)
from lib.config.paths import is_uri

Freeze = Literal["none", "early", "most", "head", "gradual"]
Precision = Literal["fp32", "bf16", "fp16"]
Optimizer = Literal["sgd", "adam", "adamw", "muon"]
Loss = Literal["cross_entropy", "focal"]
Schedule = Literal["constant", "step", "cosine", "warm_restarts", "plateau", "one_cycle"]
Mix = Literal["none", "mixup", "cutmix", "both"]
Stem = Literal["auto", "standard", "small"]
Sampling = Literal["uniform", "class_balanced", "weighted"]

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _folder_name(text: str) -> str:
    """Accept a name that can be a folder: no separators, no leading dot, nothing a shell would mind."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", text):
        raise ValueError(f"{text!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
    return text


FolderName = Annotated[str, AfterValidator(_folder_name)]


def _tracking_uri(text: str) -> str:
    """Accept the address of an MLflow server or database, without a password."""
    scheme, _, rest = text.partition("://")
    if not is_uri(text) or scheme == "file":
        raise ValueError(
            f"{text!r} is neither a server (http://HOST:5000) nor a database (sqlite:////DIR/x.db)"
        )
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise ValueError("a password would be kept with the run; set MLFLOW_TRACKING_PASSWORD instead")
    if scheme == "sqlite" and not rest.startswith("//"):
        raise ValueError(
            "workers may run in another folder: four slashes begin an absolute path, sqlite:////DIR/x.db"
        )
    return text


def _project(text: str) -> str:
    """Accept PROJECT or ENTITY/PROJECT."""
    if not re.fullmatch(r"([\w.-]+/)?[\w.-]+", text):
        raise ValueError(f"{text!r} names no project; give PROJECT or ENTITY/PROJECT")
    return text


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
    class_weights: dict[str, Weight] = {}
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
    weights: str = Field(default="none", examples=["none", "default", "resnet18.pth", "runs/x/bundle"])
    """none starts from random weights, default takes the library's pretrained ones (a download), FILE
    takes a local .safetensors, .pth or .pt, a bundle goes on from where another run ended: its head is
    taken over by the names of the classes. For other classes the head is new."""
    image_size: Count | None = None
    """Side of the square that the network sees; by default the network's own, or the bundle's. It sets how
    large vit_* and lenet5 are built; vit_* take multiples of their patch."""
    stem: Stem = "auto"
    """First layers. small keeps the resolution: 3x3 with stride 1 and no max-pool in ResNets (ResNeXt, wide),
    DenseNets, GoogLeNet, ShuffleNets, SqueezeNets and AlexNet; stride 1 in MobileNets, EfficientNets,
    MNASNets, RegNets and Inception v3 (which loses a max-pool too); patches of 2 px for 4 in ConvNeXt and
    Swin; timm's alike. VGG, ViT, MaxViT, lenet5, resnet8, resnet14 and resnet20 have none. auto takes it for
    random weights at 64 px or less, where there is one; a bundle brings its own, a file is standard."""
    channels: Literal["auto", 1, 3] = "auto"
    """auto gives the network one channel when every picture of the dataset is grey; the first layer of
    pretrained weights is summed over its channels then, which changes no answer."""


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
    """Write resumable state when so many seconds have passed since the last; 0 does not."""

    @property
    def teachers(self) -> list[str]:
        """The bundles of `teacher`: none, one or more."""
        return [self.teacher] if isinstance(self.teacher, str) else self.teacher or []


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


class AugmentSection(Section):
    """What training does to an image that evaluation does not."""

    policy: str = Field(default="standard", examples=["none", "light", "standard", "strong", "trivial"])
    """none, light (crop), standard (crop and flip), strong (crop, flip, colour, erasing); trivial,
    randaugment, autoaugment, augmix (crop, flip, and what the papers do); albumentations:FILE (crop, and a
    pipeline saved as .json or .yaml); package.module:function (crop, and transforms of your own)."""
    min_crop: Annotated[float, Field(gt=0, le=1)] = 0.35
    """Smallest share of the image that a random crop takes; images of up to 64 pixels are shifted instead."""
    mix: Mix = "none"
    """Blend pairs of images and their labels: mixup, cutmix, or both in turn at random. Pairs are made within
    each worker's share of a batch, so other numbers of workers blend other pairs."""
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
    error where there is none. Slower on GPUs. Needs a number of workers and train.checkpoint_every_s=0."""
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


class TrackSection(Section):
    """Where the figures of each epoch go besides metrics.jsonl; what fails there is a warning, no more."""

    tensorboard: bool = False
    """Write event files to tensorboard/ of the run."""
    mlflow: Annotated[str, AfterValidator(_tracking_uri)] | None = Field(
        default=None, examples=["http://127.0.0.1:5000", "sqlite:////data/mlflow.db"]
    )
    """Address of an MLflow server or database. The experiment is manta, or as MLFLOW_EXPERIMENT_NAME says."""
    wandb: Annotated[str, AfterValidator(_project)] | None = Field(
        default=None, examples=["manta", "team/manta"]
    )
    """Project of Weights & Biases; key, server and mode as its own variables say (WANDB_API_KEY, …)."""


class FinetuneConfig(Section):
    """Fine-tune a network on a packed dataset."""

    data: DataSection
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()
    optim: OptimSection = OptimSection()
    augment: AugmentSection = AugmentSection()
    run: RunSection = RunSection()
    track: TrackSection = TrackSection()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_schedule(self.optim, self.train.epochs)
        check_stages(self.train)
        check_shares(self.train, self.run.most_workers or 1)
        check_mix(self.augment, self.train, self.run.most_workers or 1)
        if self.data.sampling == "weighted" and not self.data.class_weights:
            raise ValueError(
                "data.sampling=weighted needs data.class_weights, such as data.class_weights.cat=3"
            )
        if self.data.sampling != "weighted" and self.data.class_weights:
            raise ValueError("data.class_weights has no effect without data.sampling=weighted")
        check_optimisation(self)
        check_rates(self.optim, self.train)
        check_workers(self.run, self.train)
        return self


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
