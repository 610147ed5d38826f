"""What making an ensemble may be told; as `lib.config.schema` for the other jobs.

EnsembleConfig(members=["runs/a/bundle", "runs/b/bundle"], data={"root": "runs/digits"}).combine
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from lib.config.reading import ReadingSection
from lib.config.section import Auto, Count, Fraction, Section

Combine = Literal["mean", "weighted", "vote"]
Views = Literal["none", "hflip", "flips", "five_crop", "rotations", "color"]


class CascadeSection(Section):
    """Ask cheap members first, and the others only where these are not confident."""

    max_accuracy_drop: Fraction | None = 0.002
    """Accuracy that may be lost against asking every member, as a fraction: 0.002 is 0.2 points. Thresholds
    are fitted to one half of the split, so that they lose no more on other images either, with a confidence
    of 95 % (the more images there are, the cheaper the cascade), and measured on the other half. null: every
    member is always asked."""
    stages: Literal["auto", "members", "views"] = "auto"
    """members: each member is asked once, with all its views. views: first without views, and with them only
    where that was not enough. auto: what costs less."""


class EnsembleRunSection(Section):
    """Where it runs."""

    use_gpu: bool | Auto = "auto"
    """auto uses a GPU if this machine has one. Costs are measured where it runs."""


class EnsembleConfig(Section):
    """Put bundles together to an ensemble that answers better, at the cost of one where that is enough."""

    members: list[str] = Field(examples=[["runs/small/bundle", "runs/large/bundle"]])
    """Bundles written by jobs/finetune.py, with the same classes in any order; sizes and preprocessing may
    differ. They are copied in."""
    data: ReadingSection
    split: str = "val"
    """Split that weights, temperatures and thresholds are fitted to (one half of it) and measured on (the
    other); images that no member was trained on."""
    combine: Combine = "mean"
    """How probabilities become one answer: mean, weighted (a mean, its weights fitted for the least
    cross-entropy), or vote."""
    vote: Literal["hard", "soft"] = "hard"
    """vote: hard counts the most probable class of each member, and their mean decides ties; soft adds up
    their probabilities."""
    select: Literal["all", "greedy"] = "all"
    """greedy takes the best member, then those that help most, and leaves out who does not help."""
    views: Views | list[Views] = Field(default="none", examples=["hflip", ["hflip", "flips"]])
    """Views of a picture whose probabilities are averaged. Of a list the first is used, and requests may
    choose the others; none may always be chosen."""
    cascade: CascadeSection = CascadeSection()
    batch_size: Count = 64
    """Images per forward pass."""
    out: str | None = None
    """Folder of the ensemble; must not exist. By default runs/ensembles/ and a name with the time."""
    run: EnsembleRunSection = EnsembleRunSection()

    @property
    def view_sets(self) -> list[Views]:
        """The views that are measured, the ensemble's own first, none always among them."""
        given = self.views if isinstance(self.views, list) else [self.views]
        return list(dict.fromkeys([*given, "none"]))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.members) < 2:
            given = f"{len(self.members)} member" + "s" * (not self.members)
            raise ValueError(f"members: {given} make no ensemble; give two bundles or more")
        if len(set(self.members)) < len(self.members):
            twice = next(each for each in self.members if self.members.count(each) > 1)
            raise ValueError(f"members: {twice} is there twice; weights say how much a member counts")
        if not self.views:
            raise ValueError("views=[] names none; write views=none")
        if self.combine != "vote" and self.vote != "hard":
            raise ValueError(f"vote={self.vote} has no effect with combine={self.combine}")
        if self.cascade.max_accuracy_drop is None and self.cascade.stages != "auto":
            raise ValueError(
                f"cascade.stages={self.cascade.stages} has no effect with cascade.max_accuracy_drop=null"
            )
        if self.cascade.stages == "views" and self.view_sets[0] == "none":
            raise ValueError("cascade.stages=views has no effect with views=none")
        return self
