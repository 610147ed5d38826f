"""What jobs/predict.py keeps of an engine's own throughput, with decoding, Ray Data and writing around it.

    python benchmarks/predict.py
    python benchmarks/predict.py images=96 model=resnet8 image_size=32 rounds=1     # a quick look

The engine alone answers one batch again and again, prepared beforehand, with all cores; the job answers JPEGs
near 500 x 375 in a folder, on Ray workers. They take turns; medians count.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from corpus import write_corpus
from pydantic import Field
from report import finish, print_table, read_settings
from serve import write_random_bundle

from lib.bundle import read_bundle
from lib.config.predicting import PredictConfig
from lib.config.section import Count, Section
from lib.console import run_job
from lib.images.preprocess import prepare
from lib.predict.engines import Wanted, build_engine
from lib.train.prediction import predict
from lib.train.prediction_plan import plan_prediction


class Settings(Section):
    """What is measured, and how often."""

    model: str = "resnet18"
    """Network with random weights."""
    image_size: Count = 224
    """Side of its input."""
    images: Count = 768
    """Pictures in the folder."""
    batch_size: Count = 64
    """Images per forward pass."""
    workers: int = Field(default=1, ge=0)
    """Ray workers of the job; 0 answers in the process of the benchmark."""
    rounds: Count = 3
    """How often both take their turn."""


def main() -> None:
    settings = read_settings(Settings, "predict", "Measure what batch prediction keeps of the engine.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = write_corpus(folder / "photos", images=settings.images, seed=0)
        first = next(photos.rglob("*.jpg")).read_bytes()
        classes = [f"class {number}" for number in range(10)]
        bundle = write_random_bundle(folder / "run/bundle", classes, first, settings)
        alone, job = [], []
        for number in range(settings.rounds):
            alone.append(engine_alone(bundle, photos, settings))
            job.append(whole_job(bundle, photos, folder / f"out-{number}", settings))
            print(f"round {number + 1}: engine {alone[-1]:,.1f}, job {job[-1]:,.1f} images/s", flush=True)
    figures = {"engine": statistics.median(alone), "job": statistics.median(job)}
    print_table("answering", ["", "images/s"], [[name, value] for name, value in figures.items()])
    finish("predict", ratios={"of_engine": figures["job"] / figures["engine"]}, absolute=figures)


def engine_alone(path: Path, photos: Path, settings: Settings) -> float:
    """Return images/s of the network on one prepared batch."""
    bundle, threads = read_bundle(path), torch.get_num_threads()
    engine = build_engine(bundle, ("torch", "fp32"), Wanted("torch", "fp32", threads=threads))
    files = sorted(photos.rglob("*.jpg"))[: settings.batch_size]
    pixels = torch.stack([prepare(file.read_bytes(), bundle.preprocess) for file in files])
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    engine(pixels)
    batches = max(2, settings.images // (2 * len(pixels)))
    started = time.perf_counter()
    for _ in range(batches):
        engine(pixels)
    return batches * len(pixels) / (time.perf_counter() - started)


def whole_job(bundle: Path, photos: Path, out: Path, settings: Settings) -> float:
    """Return images/s of the job, from its first part to its last."""
    values = {
        "bundle": str(bundle),
        "input": str(photos),
        "out": str(out),
        "batch_size": settings.batch_size,
        "part_images": 2 * settings.batch_size,
        "run": {"num_workers": settings.workers},
    }
    result = predict(plan_prediction(PredictConfig.model_validate(values)), lambda _: None)
    rate: float = result["images_per_s"]
    return rate


if __name__ == "__main__":
    run_job(main)
