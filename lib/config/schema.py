"""What a job may be told: one pydantic model per job, a docstring under every field.

These models, with the sections beside this file, are the single definition behind the command line,
`--help`, the JSON schema of the presets, and `config.yaml` in every run. They need no torch, so `--help`
answers at once.

    FinetuneConfig(data={"root": "runs/digits"}).train.epochs
"""

from typing import Self

from pydantic import Field, model_validator

from lib.config.augmentation import AugmentSection
from lib.config.conflicts import (
    check_feature_views,
    check_mix,
    check_optimisation,
    check_rates,
    check_schedule,
    check_shares,
    check_stages,
    check_workers,
)
from lib.config.judging import AbstainSection, GateSection, SliceSection
from lib.config.network import ModelSection
from lib.config.optimisation import OptimSection
from lib.config.reading import DataSection, ReadingSection
from lib.config.running import EvaluateRunSection, RunSection
from lib.config.section import Count, Section
from lib.config.tracking import JobTrackSection, TrackSection
from lib.config.training import TrainSection


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
        check_feature_views(self.train, self.augment)
        check_rates(self.optim, self.train)
        check_workers(self.run, self.train)
        return self


class EvaluateConfig(Section):
    """Measure a bundle or an ensemble on a split, every sample exactly once; compare several; hold a gate."""

    bundle: str | list[str] = Field(examples=["runs/digits/bundle", ["runs/a/bundle", "runs/b/bundle"]])
    """Bundle folder written by jobs/finetune.py, or ensemble folder written by jobs/ensemble.py. A list is
    compared with its first, image by image."""
    data: ReadingSection
    split: str = "test"
    """Split to measure."""
    batch_size: Count = 64
    """Images per forward pass."""
    gate: GateSection = GateSection()
    slices: SliceSection = SliceSection()
    abstain: AbstainSection = AbstainSection()
    out: str | None = None
    """Folder for the report; must not exist. By default runs/evaluations/ and a name with the time. A model
    that passes the gate is copied into it with the verdict."""
    run: EvaluateRunSection = EvaluateRunSection()
    track: JobTrackSection = JobTrackSection()

    @property
    def bundles(self) -> list[str]:
        """What is measured, the one that the report is about first."""
        return self.bundle if isinstance(self.bundle, list) else [self.bundle]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.bundles:
            raise ValueError("bundle=[] names none")
        if len(set(self.bundles)) < len(self.bundles):
            twice = next(each for each in self.bundles if self.bundles.count(each) > 1)
            raise ValueError(f"bundle: {twice} is there twice")
        if len(self.bundles) > 1 and self.gate.is_set:
            hint = "give one; gate.max_regression_vs=BUNDLE compares it with another"
            raise ValueError(f"gate judges one bundle, and bundle names {len(self.bundles)}; {hint}")
        if self.slices.file is not None and not self.slices.columns:
            raise ValueError("slices.file has no effect without slices.columns")
        return self
