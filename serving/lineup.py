"""The versions that a replica serves at a time: one that is stable, and candidates with their shares.

lineup = build_lineup(rollout, load, none)        # loads and proves what is not there yet
version = lineup.choose("request-42")             # the same for every attempt of a request
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lib.config.rollout import Rollout
from lib.errors import MantaError, UserError
from lib.predict.folder import Folder
from serving.schemas import ServedVersion
from serving.version import Version

# Reads the folder of a version; None stands for the bundle that the endpoint was started with.
Read = Callable[[str | None], Folder]
Load = Callable[[Folder], Version]


@dataclass(frozen=True)
class Candidate:
    """A version that is tried."""

    version: Version
    weight: float
    shadow: float

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that change with any of its files."""
        return self.version.folder.version


@dataclass(frozen=True)
class Lineup:
    """What is served; replaced as a whole, and never changed."""

    rollout: Rollout
    stable: Version
    candidates: tuple[Candidate, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    """Bundle or version, and why it is not served."""

    def versions(self) -> Iterator[Version]:
        """Yield the stable version, then the candidates."""
        yield self.stable
        yield from (candidate.version for candidate in self.candidates)

    def served(self) -> list[ServedVersion]:
        """Say which versions there are, and which share of the requests each has."""
        left = 1 - sum(candidate.weight for candidate in self.candidates)
        return [
            ServedVersion(version=self.stable.name.version, weight=max(0.0, round(left, 9)), shadow=0.0),
            *(
                ServedVersion(version=each.id, weight=each.weight, shadow=each.shadow)
                for each in self.candidates
            ),
        ]

    def pinned(self, version: str) -> Version:
        """Return the version that a request names, one of those that are served."""
        return next((each for each in self.versions() if each.name.version == version), self.stable)

    def choose(self, request_id: str) -> Version:
        """Return the version that answers a request; its id decides, so that a retry meets the same one."""
        if not self.candidates:
            return self.stable
        place = share_of(request_id)
        for candidate in self.candidates:
            place -= candidate.weight
            if place < 0:
                return candidate.version
        return self.stable

    def compared(self, request_id: str) -> list[Candidate]:
        """Return the candidates that are compared with the stable version on a request."""
        return [each for each in self.candidates if share_of(f"{each.id} {request_id}") < each.shadow]

    def without(self, reasons: dict[str, str]) -> "Lineup":
        """Return a lineup without these candidates, named by version, each with the reason."""
        return replace(
            self,
            candidates=tuple(each for each in self.candidates if each.id not in reasons),
            refused=(*self.refused, *reasons.items()),
        )


@dataclass(frozen=True)
class Followed:
    """A rollout that a replica is done with, and what it refused of it."""

    rollout: Rollout
    refused: tuple[tuple[str, str], ...]


def share_of(text: str) -> float:
    """Return a number from 0 to 1, evenly distributed, that depends on a text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64


def build_lineup(rollout: Rollout, read: Read, load: Load, present: Lineup | None) -> Lineup:
    """Load what a rollout asks for; versions of the `present` lineup are kept as they are.

    A candidate that cannot be served is refused and named, and the others go on. Raises `UserError` or
    `RunError` if it is the stable version: then nothing is to change.
    """
    loaded = {each.name.version: each for each in present.versions()} if present else {}
    fresh: list[Version] = []

    def version_of(folder: Folder) -> Version:
        if folder.version not in loaded:
            loaded[folder.version] = load(folder)
            fresh.append(loaded[folder.version])
        return loaded[folder.version]

    stable = version_of(read(rollout.bundle))
    candidates: list[Candidate] = []
    refused: list[tuple[str, str]] = []
    for asked in rollout.candidates:
        try:
            folder = read(asked.bundle)
            check_candidate(folder, [stable.folder, *(each.version.folder for each in candidates)])
            candidates.append(Candidate(version_of(folder), asked.weight, asked.shadow))
        except MantaError as error:
            refused.append((asked.bundle, error.problem))
    return Lineup(rollout, stable, tuple(candidates), tuple(refused))


def check_candidate(folder: Folder, others: list[Folder]) -> None:
    """Raise `UserError` if it cannot stand in for the stable version, the first of the others."""
    if folder.classes != others[0].classes:
        raise UserError(
            f"{folder.path} has other classes than the stable version, or in another order",
            "clients count on them: make it the stable version itself (bundle), or serve it elsewhere",
        )
    same = next((other for other in others if other.version == folder.version), None)
    if same is not None:
        raise UserError(f"{folder.path} is the same as {same.path}", "give another version")
