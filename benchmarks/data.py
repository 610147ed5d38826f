"""Compare Manta's loader with its peers: the same pictures, the same work, alternating in one run.

python benchmarks/data.py
python benchmarks/data.py images=600 rounds=1 'pipelines=[manta, imagefolder]'

Peers come with the `bench` extra. One that is not installed is named as missing.
"""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from corpus import write_corpus
from pipelines import PIPELINES
from report import finish, print_table, read_settings

from lib.config.packing import PackConfig, SplitSection
from lib.config.section import Count, Section
from lib.console import run_job, say
from lib.data.pack import pack, plan_pack

# Each ratio is one pipeline's images/s over another's.
RATIOS = {
    "vs_webdataset_pil": ("manta", "webdataset_pil"),
    "vs_imagefolder": ("manta", "imagefolder"),
    "vs_dali": ("manta", "dali"),
    "of_limit": ("manta", "limit"),
    "resized_vs_imagefolder": ("manta_resized", "imagefolder"),
}
_TIMEOUT_S = 900


class Settings(Section):
    """Compare Manta's loader with its peers."""

    images: Count = 3500
    """Pictures of the corpus."""
    batch_size: Count = 64
    """Pictures per batch."""
    workers: Count = 2
    """Threads or processes that load."""
    rounds: Count = 3
    """Times that every pipeline is run; medians are shown."""
    pipelines: tuple[str, ...] = tuple(PIPELINES)
    """Which to run."""
    seed: int = 0
    """Seed of the corpus."""


def main() -> None:
    settings = read_settings(Settings, "data", "Compare Manta's loader with its peers.")
    names = [name for name in settings.pipelines if _is_installed(name)]
    missing = [name for name in settings.pipelines if name not in names]
    with tempfile.TemporaryDirectory(prefix="manta-benchmark-") as folder:
        prepare(Path(folder), settings)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        failed: dict[str, str] = {}
        for number in range(settings.rounds):
            for name in names:
                if name not in failed:
                    say(f"round {number + 1} of {settings.rounds}: {name}")
                    result = run(name, Path(folder), settings)
                    if isinstance(result, str):
                        failed[name] = result
                    else:
                        found[name].append(result)
    show(found, missing, failed)


def prepare(folder: Path, settings: Settings) -> None:
    """Write the corpus, and pack it as it is and at 256 pixels."""
    say(f"writing {settings.images:,} pictures")
    photos = write_corpus(folder / "photos", images=settings.images, seed=settings.seed)
    for name, resize in (("packed", None), ("resized", 256)):
        config = PackConfig(
            source=f"imagefolder:{photos}",
            out=str(folder / name),
            resize=resize,
            shard_size_mb=16,
            split=SplitSection(val=0, test=0),
        )
        pack(config, plan_pack(config), map)


def run(name: str, folder: Path, settings: Settings) -> dict[str, float] | str:
    """Run a pipeline in a process of its own; return what it measured, or why it failed."""
    words = [name, str(folder), str(settings.batch_size), str(settings.workers)]
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("measure.py")), *words],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {_TIMEOUT_S} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return (done.stderr.strip().splitlines() or ["no output"])[-1]
    result: dict[str, float] = json.loads(lines[-1])
    if result["images"] != settings.images:
        say(f"  note: {name} gave {result['images']:,.0f} of {settings.images:,} pictures in an epoch")
    return result


def show(found: dict[str, list[dict[str, float]]], missing: list[str], failed: dict[str, str]) -> None:
    keys = ("images_per_s", "cpu_ms_per_image", "memory_mb", "first_batch_s")
    medians = {
        name: {key: median(result[key] for result in results) for key in keys}
        for name, results in found.items()
        if results
    }
    columns = ["pipeline", "images/s", "CPU ms/image", "memory MB", "first batch s", "of the limit"]
    limit = medians.get("limit", {}).get("images_per_s", float("nan"))
    rows = [[name, *values.values(), values["images_per_s"] / limit] for name, values in medians.items()]
    print_table("RandomResizedCrop 224, flip, normalise; one epoch in float batches", columns, rows)
    for name in missing:
        print(f"  missing: {name} (pip install 'manta[bench]')")
    for name, reason in failed.items():
        print(f"  failed: {name}: {reason}")
    ratios = {
        ratio: round(
            median(
                a["images_per_s"] / b["images_per_s"] for a, b in zip(found[over], found[under], strict=True)
            ),
            3,
        )
        for ratio, (over, under) in RATIOS.items()
        if over in medians and under in medians
    }
    if ratios:
        rows = [[name, value] for name, value in ratios.items()]
        print_table("ratios of images/s", ["ratio", "value"], rows)
    finish("data", ratios=ratios, absolute={name: _rounded(values) for name, values in medians.items()})


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in values.items()}


def _is_installed(name: str) -> bool:
    try:
        return find_spec(PIPELINES[name][1]) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    run_job(main)
