"""The shape of the repository: floors, what Ray uploads, and what must not be in it."""

import ast
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Floors from the ground up; imports only run down. On the fourth, the order within counts too.
FLOORS = [
    [
        "lib.errors",
        "lib.files",
        "lib.ports",
        "lib.runtime",
        "lib.console",
        "lib.metrics",
        "lib.significance",
        "lib.calibration",
        "lib.track",
    ],
    ["lib.config", "lib.images", "lib.models"],
    ["lib.cluster", "lib.recorder", "lib.data", "lib.bundle"],
    ["lib.report"],
    ["lib.predict"],
    ["lib.train"],
    ["lib.tune"],
    ["jobs", "serving"],
]
# Rooms that meet on one floor without a circle.
SAME_FLOOR = {
    ("lib.console", "lib.errors"),
    ("lib.files", "lib.errors"),
    ("lib.track", "lib.errors"),
    ("lib.track", "lib.files"),
    ("lib.track", "lib.console"),
    ("lib.calibration", "lib.metrics"),
    ("lib.significance", "lib.metrics"),
    ("lib.console", "lib.runtime"),
    ("lib.models", "lib.config"),
    ("lib.data", "lib.cluster"),
}
NO_RAY = [
    name
    for floor in FLOORS
    for name in floor
    if name not in ("lib.cluster", "lib.recorder", "lib.train", "lib.tune", "jobs", "serving")
]


def room(module: str) -> str | None:
    names = [name for floor in FLOORS for name in floor]
    return next((name for name in names if module == name or module.startswith(f"{name}.")), None)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources() -> list[Path]:
    return [p for top in ("lib", "jobs", "serving") for p in sorted((ROOT / top).rglob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_only_run_down(path: Path) -> None:
    level = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    own = room(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."))
    if own is None:
        assert path.name == "__init__.py"
        return
    for module in imports(path):
        other = room(module)
        if other is not None and other != own:
            assert level[other] < level[own] or (own, other) in SAME_FLOOR, f"{own} imports {module}"
        if own in NO_RAY:
            assert module.split(".")[0] != "ray", f"{own} imports {module}"


def test_lib_is_not_ignored() -> None:
    tracked = ["lib/errors.py", "jobs/finetune.py", "serving/app.py", "helm/x", "cluster/x"]
    ignored = subprocess.run(["git", "check-ignore", *tracked], cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout == ""


def test_ray_would_upload_lib_and_leave_results_behind() -> None:
    from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

    excluded = get_excludes_from_ignore_files(ROOT, include_gitignore=True)
    kept = ["lib/errors.py", "lib/data/order.py", "jobs/finetune.py", "jobs/presets/digits.yaml"]
    left = [".venv/bin/python", "runs/demo/run"]
    assert [p for p in kept if any(skip(ROOT / p) for skip in excluded)] == []
    assert [p for p in left if not any(skip(ROOT / p) for skip in excluded)] == []


def test_every_package_is_installed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        p.parent.relative_to(ROOT).as_posix().replace("/", ".") for p in sources() if p.name == "__init__.py"
    }
    assert set(declared) == found


def test_jobs_do_not_shadow_what_a_driver_imports() -> None:
    # `python jobs/x.py` puts jobs/ first on sys.path.
    import sys

    names = {p.stem for p in (ROOT / "jobs").glob("*.py")} - {"__init__"}
    assert not names & (set(sys.stdlib_module_names) | {"ray", "torch", "lib", "jobs", "serving", "numpy"})


def test_entry_points_are_short() -> None:
    for path in [
        *(ROOT / "jobs").glob("*.py"),
        *ROOT.glob("*/__main__.py"),
        *ROOT.glob("cluster/*/__main__.py"),
    ]:
        assert len(path.read_text().splitlines()) < 80, path
