"""What packing makes, whatever the source: content of a folder, what was left out, what to say at the end.

content = Content(classes, splits, grey, bad)
check_bad(content.bad, total=1797, allowed_fraction=0.01)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from lib.console import amount
from lib.data.manifest import Manifest, Split
from lib.data.quarantine import QUARANTINE, Bad, listed
from lib.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


class RunAll(Protocol):
    """Runs a function on every item and returns the results in order: the built-in `map`, or Ray tasks."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T], /) -> Iterable[R]:
        """Run it."""


@dataclass(frozen=True)
class Content:
    """What lies in the folder of a dataset, but for its manifest."""

    classes: list[str]
    splits: dict[str, Split]
    grey: bool
    bad: list[Bad]
    resized: int = 0
    """Pictures that were made smaller."""
    source_bytes: int = 0
    """Size of all pictures before packing."""


@dataclass(frozen=True)
class Packed:
    """A finished dataset, the pictures that were left out, and what resizing saved."""

    root: Path
    manifest: Manifest
    bad: list[Bad]
    resized: int
    """Pictures that were made smaller."""
    source_bytes: int
    """Size of all pictures before packing."""
    stored_bytes: int
    """Size of all pictures as they are stored."""
    shared: int
    """Pictures that more than one split has."""

    def remarks(self, resize: int | None) -> dict[str, str]:
        """Return rows of the closing block: what was left out, what resizing saved, what is wrong with it."""
        rows = {}
        if self.bad:
            rows["left out"] = f"{len(self.bad)} unusable images, listed in {self.root / QUARANTINE}"
        if resize is not None:
            images = sum(split.num_samples for split in self.manifest.splits.values())
            percent = f"{100 * self.stored_bytes / max(1, self.source_bytes):.0f} %"
            sizes = f"{amount(self.source_bytes)} -> {amount(self.stored_bytes)} ({percent})"
            rows["resized"] = f"{self.resized:,} of {images:,} images; {sizes}"
        if self.shared:
            is_one = self.shared == 1
            shared = f"{self.shared:,} {'image is' if is_one else 'images are'} in more than one split"
            lists = f"python jobs/pack.py check {self.root} lists {'it' if is_one else 'them'}"
            rows["warning"] = f"{shared}; {lists}"
        return rows


def check_bad(bad: Sequence[Bad], total: int, allowed_fraction: float) -> None:
    """Raise `UserError` with a list if more samples of a source are unusable than are allowed."""
    if len(bad) <= allowed_fraction * total:
        return
    raise UserError(
        f"{len(bad)} of {total} images cannot be used; max_bad_fraction={allowed_fraction:g} allows "
        f"{int(allowed_fraction * total)}",
        listed(bad) + "\nrepair or remove them, or raise max_bad_fraction",
    )
