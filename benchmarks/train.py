"""Compare training in Manta with its peers: the same pictures, the same network, alternating in one run.

python benchmarks/train.py
python benchmarks/train.py peers.timm_dir=FOLDER                      # a checkout of timm, for its train.py
python benchmarks/train.py rounds=1 'pipelines=[manta, plain]' 'parts=[steps]'

Each loads with its own loader and does what its documentation shows. Peers come with the `bench` extra. One
that is not installed is named as missing.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Literal

from child import Child, ChildError, environment_without
from corpus import CLASSES, write_corpus
from head_cached import HeadSection, measure_head_cached
from pydantic import AfterValidator, Field
from recovery import RECOVERY_SIZE, RECOVERY_WORDS, STATE_EVERY, measure_recovery
from report import finish, print_table, read_settings
from trainings import EPOCHS, TRAININGS, Task, manta, why_missing

from lib.config.packing import PackConfig, SplitSection
from lib.config.section import Count, Section
from lib.console import run_job, say
from lib.data.pack import pack, plan_pack
from lib.runtime import ENVIRONMENT

# Each ratio is what one training measures over what another does.
RATIOS = {
    "vs_plain": ("manta", "plain", "images_per_s"),
    "vs_timm": ("manta", "timm", "images_per_s"),
    "in_process_vs_plain": ("manta_in_process", "plain", "images_per_s"),
    "in_process_vs_timm": ("manta_in_process", "timm", "images_per_s"),
    "bf16_vs_plain": ("manta_bf16", "plain", "images_per_s"),
    "bf16_vs_timm": ("manta_bf16", "timm", "images_per_s"),
    "ray_overhead_fraction": ("manta_in_process", "manta", "images_per_s"),
    "first_step_vs_torchrun": ("manta", "plain", "first_step_s"),
}
_COLUMNS = ("images/s", "median step ms", "last steps ms", "between epochs s", "launch to first step s")
_LAST = 3
_TIMEOUT_S = 900.0
# Ratios and absolute figures.
Found = tuple[dict[str, float], dict[str, object]]


def _known(name: str) -> str:
    if name not in TRAININGS:
        raise ValueError(f"{name!r} is not one of {', '.join(TRAININGS)}")
    return name


Pipeline = Annotated[str, AfterValidator(_known)]


class PeersSection(Section):
    """Where peers are that PyPI does not have."""

    timm_dir: str | None = None
    """A checkout of timm, for its train.py."""


class Settings(Section):
    """Compare training in Manta with its peers."""

    model: Literal["resnet18", "mobilenet_v2"] = "resnet18"
    """Network, with random weights."""
    image_size: Annotated[int, Field(gt=64)] = 224
    """Side of the square that it sees; up to 64 pixels Manta shifts pictures, and its peers crop them."""
    batch_size: Count = 32
    """Pictures per step."""
    steps: Annotated[int, Field(ge=_LAST + 1)] = 10
    """Steps per epoch, of two epochs."""
    workers: Count = 2
    """Processes that load, where a peer has them."""
    rounds: Count = 2
    """Times that everything is run; medians are shown."""
    pipelines: tuple[Pipeline, ...] = tuple(TRAININGS)
    """Which to train with. manta trains in a Ray worker, as by default; manta_in_process without Ray, and
    manta_bf16 too, with train.precision=bf16."""
    parts: tuple[Literal["steps", "recovery", "head_cached"], ...] = ("steps", "recovery", "head_cached")
    """What to measure: training, a killed worker, fine-tuning of a head on cached features."""
    head: HeadSection = HeadSection()
    """Fine-tuning of a head."""
    peers: PeersSection = PeersSection()
    """Where peers are that PyPI does not have."""
    seed: int = 0
    """Seed of the corpus."""


@dataclass(frozen=True)
class Measured:
    """What the clock of one training says."""

    images_per_s: float
    """Without the first step of an epoch, which waits for the loader to start."""
    step_ms: float
    last_steps_ms: float
    """The mean of the last steps of an epoch, where reporting would be felt."""
    between_epochs_s: float
    """From the last step of an epoch to the first of the next, less a median step."""
    first_step_s: float
    """From the launch to the end of the first step."""


def main() -> None:
    settings = read_settings(Settings, "train", "Compare training in Manta with its peers.")
    ratios: dict[str, float] = {}
    absolute: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="manta-benchmark-") as name:
        prepare(Path(name), settings)
        for part in settings.parts:
            found = PARTS[part](Path(name), settings)
            ratios |= found[0]
            absolute |= found[1]
    finish("train", ratios=ratios, absolute=absolute)


def prepare(folder: Path, settings: Settings) -> None:
    """Write the corpus, and pack it."""
    images = settings.steps * settings.batch_size
    say(f"writing {images:,} pictures")
    photos = write_corpus(folder / "photos/train", images=images, seed=settings.seed)
    # timm's script validates after every epoch: a picture per class costs it next to nothing.
    write_corpus(folder / "photos/val", images=CLASSES, seed=settings.seed + 1)
    config = PackConfig(
        source=f"imagefolder:{photos}", out=str(folder / "packed"), split=SplitSection(val=0, test=0)
    )
    pack(config, plan_pack(config), map)


def measure_steps(folder: Path, settings: Settings) -> Found:
    """Train with every pipeline, in turns."""
    task = _task(folder, settings)
    missing = {name: why for name in settings.pipelines if (why := why_missing(name, task))}
    found: dict[str, list[Measured]] = {name: [] for name in settings.pipelines if name not in missing}
    failed: dict[str, str] = {}
    for number in range(settings.rounds):
        for name in found:
            if name not in failed:
                say(f"round {number + 1} of {settings.rounds}: {name}")
                try:
                    found[name].append(train(name, task, folder / f"{name}-{number}", settings.steps))
                except ChildError as error:
                    failed[name] = str(error)
    title = (
        f"{settings.model} at {settings.image_size}, batches of {settings.batch_size}, SGD, {EPOCHS} epochs "
        f"of {settings.steps} steps; RandomResizedCrop, flip, normalise, each with its own loader"
    )
    return show(title, found, missing, failed)


def train(name: str, task: Task, out: Path, steps: int) -> Measured:
    """Train in a process of its own until the last step is done."""
    with Child(TRAININGS[name](task, out), out, environment_without(ENVIRONMENT)) as child:
        (ends,) = child.wait_for_steps(EPOCHS * steps, _TIMEOUT_S).values()
    step_s = [after - before for before, after in pairwise(ends[: EPOCHS * steps])]
    epochs = [step_s[first : first + steps - 1] for first in range(0, EPOCHS * steps, steps)]
    within = [seconds for epoch in epochs for seconds in epoch]
    return Measured(
        images_per_s=task.batch_size / mean(within),
        step_ms=1e3 * median(within),
        last_steps_ms=1e3 * mean(seconds for epoch in epochs for seconds in epoch[-_LAST:]),
        between_epochs_s=max(0.0, step_s[steps - 1] - median(within)),
        first_step_s=ends[0] - child.started_at,
    )


def show(
    title: str, found: dict[str, list[Measured]], missing: dict[str, str], failed: dict[str, str]
) -> Found:
    rows = {name: [asdict(each) for each in results] for name, results in found.items() if results}
    medians = {
        name: {key: median(each[key] for each in results) for key in results[0]}
        for name, results in rows.items()
    }
    if medians:
        table = [[name, *values.values()] for name, values in medians.items()]
        print_table(title, ["training", *_COLUMNS], table)
    for name, reason in missing.items():
        print(f"  missing: {name} ({reason})")
    for name, reason in failed.items():
        print(f"  failed: {name}: {reason}")
    ratios = {
        ratio: median(a[key] / b[key] for a, b in zip(rows[over], rows[under], strict=True))
        for ratio, (over, under, key) in RATIOS.items()
        if over in medians and under in medians and not {over, under} & failed.keys()
    }
    if "ray_overhead_fraction" in ratios:
        ratios["ray_overhead_fraction"] -= 1
    if ratios:
        print_table("ratios", ["ratio", "value"], [[name, value] for name, value in ratios.items()])
    return _rounded(ratios), {name: _rounded(values) for name, values in medians.items()}


def measure_killed_worker(folder: Path, settings: Settings) -> Found:
    """Kill a worker of a run of two, as often as there are rounds."""
    results = []
    for number in range(settings.rounds):
        say(f"round {number + 1} of {settings.rounds}: a killed worker")
        out = folder / f"recovery-{number}"
        command = manta(_task(folder, settings), out, *RECOVERY_WORDS)
        try:
            results.append(measure_recovery(command, out, environment_without(ENVIRONMENT)))
        except ChildError as error:
            print(f"  failed: recovery: {error}")
            return {}, {}
    found = {key: median(each[key] for each in results) for key in results[0]}
    title = (
        f"one of two workers killed, {settings.model} at {RECOVERY_SIZE}, a state every {STATE_EVERY} steps"
    )
    columns = ["first step again s", "first new step s", "steps taken again", "of them in the last state"]
    print_table(title, columns, [list(found.values())])
    ratios = {"recovery_s": found["new_step_s"], "recovery_steps_redone": found["redone_in_state"]}
    return _rounded(ratios), {"recovery": _rounded(found)}


def measure_head(folder: Path, settings: Settings) -> Found:
    """Fine-tune a head on features that are kept, and the usual way."""
    try:
        return measure_head_cached(
            folder,
            settings.head,
            rounds=settings.rounds,
            batch_size=settings.batch_size,
            workers=settings.workers,
            seed=settings.seed,
        )
    except ChildError as error:
        print(f"  failed: head_cached: {error}")
        return {}, {}


def _task(folder: Path, settings: Settings) -> Task:
    return Task(
        folder,
        settings.model,
        settings.image_size,
        settings.batch_size,
        settings.workers,
        settings.peers.timm_dir,
    )


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in values.items()}


PARTS: dict[str, Callable[[Path, Settings], Found]] = {
    "steps": measure_steps,
    "recovery": measure_killed_worker,
    "head_cached": measure_head,
}


if __name__ == "__main__":
    run_job(main)
