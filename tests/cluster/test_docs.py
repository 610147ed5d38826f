"""docs/kubernetes.md and the READMEs of cluster/: what they name exists, and their shell is shell."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where pip put the programs that tests call.
BIN = Path(sys.executable).parent
PAGES = [ROOT / "docs/kubernetes.md", *sorted((ROOT / "cluster").rglob("README.md"))]
VALUES = ROOT / "docs/values.md"
# What the page names besides values of the charts: words of jobs, fields and names of others.
OTHERS = re.compile(
    r"^(data|model|train|run|serve|optim|jobs|helm|ray|cluster|serving|package|rayjob|kubectl)\.|\.(md|yaml|client|kind)$"
)
# Fields of KubeRay and of the operator of Prometheus.
THEIRS = {"tlsOptions", "podMonitorSelector"}


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if target == VALUES and not (ROOT / "helm").exists():
            continue  # written with the charts
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, (
                link
            )


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_shell_blocks_are_shell(page: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    for block in blocks:
        # Placeholders, and files to source that are made later, are no mistakes.
        checked = subprocess.run(
            [BIN / "shellcheck", "--shell=bash", "--exclude=SC1091", "-"],
            input=block,
            capture_output=True,
            text=True,
        )
        assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_of_this_repository_exist(page: Path) -> None:
    named = re.findall(r"python (?:-m ([\w.]+)|((?:jobs|benchmarks|cluster)/[\w/]+\.py))", page.read_text())
    for module, script in named:
        if module == "helm.generate" or not (module or script):
            continue
        path = ROOT / (script or module.replace(".", "/"))
        assert path.exists() or path.with_suffix(".py").exists(), module or script


def test_values_that_are_named_exist() -> None:
    table = VALUES.read_text()
    keys = set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE))
    known = keys | {".".join(key.split(".")[:end]) for key in keys for end in range(1, key.count(".") + 1)}
    # Below `endpoint` stand the words of `python -m serving`, which its own tables describe.
    text = (ROOT / "docs/kubernetes.md").read_text()
    named = set(re.findall(r"`([a-z][A-Za-z]+(?:\.[A-Za-z_]+)+)(?:=[^`]*)?`", text))
    named |= set(re.findall(r"--set '?([a-z][A-Za-z.]+)=", text))
    unknown = {key for key in named if not OTHERS.search(key) and not key.startswith("endpoint.")} - known
    assert unknown == set()
    assert len(named) > 30
    parts = {part for key in keys for part in key.split(".")}
    assert set(re.findall(r"`([a-z]+[A-Z][A-Za-z]*)(?:[=:][^`]*)?`", text)) - parts == THEIRS
