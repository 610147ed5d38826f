"""A Dockerfile without an engine: its instructions read, its COPYs done, its RUNs run by a shell.

stages = read(ROOT / "cluster/image/Dockerfile")
copy(stages["manta"], ROOT, tmp_path)                   # what comes from the context
kept(ROOT)                                              # what .dockerignore leaves of the repository
"""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

Instruction = tuple[str, str]


@dataclass
class Stage:
    """One FROM and what follows it, with arguments not yet put in."""

    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The arguments of every instruction of a kind."""
        return [text for kind, text in self.instructions if kind == name]

    def pairs(self, name: str) -> dict[str, str]:
        """ENV, LABEL or ARG as a mapping; an ARG without a default is empty."""
        words = [word for text in self.all(name) for word in shlex.split(text)]
        return {key: value for key, _, value in (word.partition("=") for word in words)}

    def words(self, name: str) -> list[str]:
        """The last instruction of a kind in its JSON form."""
        text = self.all(name)[-1]
        return list(json.loads(text[text.index("[") :]))


def read(path: Path) -> dict[str, Stage]:
    """Read the stages of a Dockerfile by name; refuses what this reader does not know."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, Stage] = {}
    stage = Stage("")  # What comes before the first FROM.
    for line in filter(str.strip, text.splitlines()):
        name, _, rest = line.partition(" ")
        assert name.isupper(), f"not an instruction: {line}"
        assert "<<" not in rest, f"here-documents are not read: {line}"
        if name == "FROM":
            base, _, own = rest.strip().partition(" AS ")
            stage = stages[own] = Stage(base)
        else:
            stage.instructions.append((name, " ".join(rest.split())))
    return stages


def copies(stage: Stage) -> list[tuple[list[str], str]]:
    """The sources and the target of each COPY that takes from the context."""
    found = []
    for text in stage.all("COPY"):
        if not text.startswith("--from="):
            *sources, target = text.split()
            found.append((sources, target))
    return found


def copy(stage: Stage, context: Path, root: Path) -> None:
    """Do the COPYs from the context into a root folder, with the files that .dockerignore lets through."""
    files = kept(context)
    for sources, target in copies(stage):
        for source in sources:
            inside = [path for path in files if path == source or path.startswith(f"{source}/")]
            assert inside, f"COPY {source}: not in the context"
            for path in inside:
                name = Path(path).name if path == source and target.endswith("/") else path[len(source) :]
                to = root / (target.strip("/") + "/" + name.strip("/")).strip("/")
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(context / path, to)


def kept(context: Path) -> list[str]:
    """The files under version control, or new, that .dockerignore does not leave out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=context,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (context / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return [path for path in listed.stdout.splitlines() if not is_ignored(path, patterns)]


def is_ignored(path: str, patterns: list[str]) -> bool:
    """The last pattern that matches the path, or a folder above it, decides, as Docker has it."""
    parts = path.split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    ignored = False
    for pattern in patterns:
        bare = pattern.removeprefix("!").rstrip("/")
        if any(_matches(each, bare) for each in above):
            ignored = not pattern.startswith("!")
    return ignored


def _matches(path: str, pattern: str) -> bool:
    """Match as Docker does: `*` stays within a folder, `**/` is any number of folders."""
    if pattern.startswith("**/"):
        return any(_matches(tail, pattern[3:]) for tail in _tails(path))
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _tails(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
