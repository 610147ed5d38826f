"""The image without an engine: what its Dockerfile says is read, done or run as far as it can be."""

import contextlib
import ctypes
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lib
from lib.runtime import ENVIRONMENT
from tests.cluster import dockerfile

ROOT = Path(__file__).parents[2]
# Where pip put the programs that tests call.
BIN = Path(sys.executable).parent
PATH = ROOT / "cluster/image/Dockerfile"
STAGES = dockerfile.read(PATH)
FINAL = STAGES["manta"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the COPYs of the last stage make of the repository."""
    folder = tmp_path_factory.mktemp("root")
    dockerfile.copy(FINAL, ROOT, folder)
    return folder


def installed(stage: dockerfile.Stage) -> set[str]:
    """Return the Debian packages that a stage installs."""
    found = [re.search(r"apt-get install ([^&|;]+)", text) for text in stage.all("RUN")]
    words = {word for match in found if match for word in match[1].split()}
    return {word for word in words if not word.startswith("-")}


def test_hadolint_has_nothing_to_say() -> None:
    linted = subprocess.run([BIN / "hadolint", "--no-color", str(PATH)], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_shellcheck_has_nothing_to_say() -> None:
    scripts = sorted(map(str, (ROOT / "cluster").rglob("*.sh")))
    assert len(scripts) >= 2
    linted = subprocess.run([BIN / "shellcheck", *scripts], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


def test_it_runs_as_a_user_of_fixed_number_from_code_that_user_cannot_change() -> None:
    users = [text for kind, text in FINAL.instructions if kind == "USER"]
    assert users == ["10001:10001"]
    assert not any("--chown" in text for text in FINAL.all("COPY"))
    run = " ".join(FINAL.all("RUN"))
    assert "useradd --uid 10001 --gid 10001" in run
    assert FINAL.all("WORKDIR") == ["/app"]


def test_no_stage_has_a_compiler_and_nothing_is_built_from_source() -> None:
    compilers = {
        "gcc",
        "g++",
        "build-essential",
        "clang",
        "cmake",
        "make",
        "python3-dev",
        "libc6-dev",
        "binutils",
    }
    for stage in STAGES.values():
        assert installed(stage)
        assert not installed(stage) & compilers
    assert "--no-build" in " ".join(STAGES["packages"].all("RUN"))
    assert "pip" not in " ".join(FINAL.all("RUN"))


def test_what_kuberay_calls_is_there() -> None:
    # Probes: bash, wget, grep. Init containers: ray, and with mTLS hostname, awk, openssl.
    assert {"bash", "wget", "grep", "hostname", "gawk", "openssl", "ca-certificates"} <= installed(FINAL)
    environment = FINAL.pairs("ENV")
    assert environment["PATH"].startswith("/opt/venv/bin:")
    assert "/etc/profile.d/manta.sh" in " ".join(FINAL.all("RUN"))
    assert FINAL.all("ENTRYPOINT") == []


def test_every_process_is_set_up_as_lib_runtime_does() -> None:
    environment = FINAL.pairs("ENV")
    assert environment.items() >= ENVIRONMENT.items()
    assert environment["MALLOC_TRIM_THRESHOLD_"] == environment["MALLOC_MMAP_THRESHOLD_"] == str(2**31 - 1)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the image's C library is glibc")
def test_glibc_keeps_its_heap_with_these_variables() -> None:
    code = """if True:
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * 4096
        before = resident()
        large = bytearray(b"x") * 200_000_000  # written, so that it counts
        large = None
        print((resident() - before) // 10**6)
    """

    def left_mb(**environment: str) -> int:
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return int(run.stdout)

    kept = {name: value for name, value in FINAL.pairs("ENV").items() if name.startswith("MALLOC_")}
    assert left_mb(**kept) > 150
    assert left_mb() < 50


def test_a_home_that_can_be_written_with_a_read_only_root() -> None:
    environment = FINAL.pairs("ENV")
    assert environment["HOME"] == "/tmp"
    assert environment["MANTA_HOME"] == "/data/manta"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    # So everything is compiled beforehand: KubeRay's init container has a fifth of a core to import ray with.
    assert "--compile-bytecode" in " ".join(STAGES["packages"].all("RUN"))
    assert "compileall" in " ".join(FINAL.all("RUN"))


def test_no_gpu_is_taken_unasked() -> None:
    # With NVIDIA_VISIBLE_DEVICES in the image, pods without a GPU would get all of a node's.
    assert "NVIDIA_VISIBLE_DEVICES" not in FINAL.pairs("ENV")


def test_labels_and_versions() -> None:
    labels = FINAL.pairs("LABEL")
    prefix = "org.opencontainers.image."
    wanted = {"title", "description", "licenses", "version", "revision", "created"}
    assert {name.removeprefix(prefix) for name in labels} == wanted
    assert FINAL.pairs("ARG")["VERSION"] == lib.__version__
    assert labels[f"{prefix}version"] == "${VERSION}-${VARIANT}"
    assert all(stage.base == "${BASE}" for stage in STAGES.values())
    assert re.search(r"^ARG BASE=debian:\w+-slim$", PATH.read_text(), re.MULTILINE)


def test_arguments_are_those_of_the_readme() -> None:
    table = re.findall(r"^\| (`[A-Z`, _]+`) \|", (ROOT / "cluster/image/README.md").read_text(), re.MULTILINE)
    described = {name for cell in table for name in re.findall(r"[A-Z_]+", cell)}
    assert described == {name for stage in STAGES.values() for name in stage.pairs("ARG")} | {"BASE"}


def test_an_unknown_variant_is_refused_with_a_sentence(tmp_path: Path) -> None:
    step = next(text for text in STAGES["packages"].all("RUN") if "VARIANT" in text)
    environment = {"PATH": os.environ["PATH"], "VARIANT": "tpu", "EXTRAS": "train", "TORCH_BACKEND": "cpu"}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr == "error: VARIANT=tpu is not known: give cpu or cuda\n"


def test_what_is_installed_is_pinned() -> None:
    pins = {
        canonicalize_name(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    extras = shlex.split(STAGES["packages"].pairs("ARG")["EXTRAS"])
    todo = [Requirement(f"manta[{','.join(extras)}]")]
    seen: set[tuple[str, str]] = set()
    missing = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name not in pins | {"manta"}:
            missing.add(name)
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += [each for each in required_by(name) if applies(each, extra)]
    assert missing == set()
    assert len(seen) > 80


def required_by(name: str) -> list[Requirement]:
    """Return what a package asks for; Manta's come from pyproject.toml, whether it is installed or not."""
    if name != "manta":
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return [Requirement(each) for each in importlib.metadata.requires(name) or []]
        return []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [Requirement(each) for each in project["dependencies"]]
    for extra, words in project["optional-dependencies"].items():
        for word in words:
            requirement = Requirement(word)
            given = f"({requirement.marker}) and " if requirement.marker else ""
            found.append(Requirement(f"{word.partition(';')[0]}; {given}extra == '{extra}'"))
    return found


def applies(requirement: Requirement, extra: str) -> bool:
    environment = {"platform_system": "Linux", "sys_platform": "linux", "extra": extra}
    if requirement.marker is None:
        return extra == ""
    return requirement.marker.evaluate(environment) and not (
        extra and requirement.marker.evaluate(environment | {"extra": ""})
    )


def test_the_context_has_what_is_copied_and_no_more() -> None:
    kept = dockerfile.kept(ROOT)
    assert {
        "lib/errors.py",
        "lib/report/report.html",
        "jobs/presets/digits.yaml",
        "serving/page.html",
    } <= set(kept)
    tops = {path.split("/")[0] for path in kept}
    assert tops == {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "lib",
        "serving",
        "jobs",
        "cluster",
    }
    assert {path for path in kept if path.startswith("cluster/")} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "cluster/image").iterdir() if path.is_file()
    }


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("a", True),
        ("lib/x.py", False),
        ("lib/deep/__pycache__/x.pyc", True),
        ("c/image/x", False),
        ("c/k/x", True),
    ],
)
def test_patterns_mean_what_docker_says(path: str, ignored: bool) -> None:
    patterns = ["*", "!lib", "!c", "c/*", "!c/image", "**/__pycache__"]
    assert dockerfile.is_ignored(path, patterns) is ignored


def test_every_tracked_module_is_copied(root: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "lib", "jobs", "serving"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tracked = [path for path in listed.stdout.splitlines() if (ROOT / path).exists()]
    assert len(tracked) > 150
    assert [path for path in tracked if not (root / "app" / path).exists()] == []


def test_paths_that_the_image_names_exist_in_it(root: Path) -> None:
    healthcheck = FINAL.words("HEALTHCHECK")
    assert healthcheck[0] == "bash"
    assert (root / healthcheck[1].lstrip("/")).exists()
    assert FINAL.words("CMD")[:3] == ["python", "-m", "serving"]
    assert (root / "app/serving/__main__.py").exists()
    assert (root / FINAL.pairs("ENV")["PYTHONPATH"].lstrip("/") / "lib/__init__.py").exists()


@pytest.mark.integration
@pytest.mark.parametrize("words", [["jobs/finetune.py"], ["-m", "serving"]], ids=lambda w: w[-1])
def test_entries_run_from_what_was_copied_alone(words: list[str], root: Path) -> None:
    app = root / "app"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(app), "PYTHONDONTWRITEBYTECODE": "1"}
    code = "import lib, sys; sys.exit(lib.__file__ if not lib.__file__.startswith(sys.argv[1]) else 0)"
    subprocess.run([sys.executable, "-c", code, str(app)], cwd=app, env=environment, check=True)
    helped = subprocess.run(
        [sys.executable, *words, "--help"], cwd=app, env=environment, capture_output=True, text=True
    )
    assert helped.returncode == 0, helped.stderr
    assert "usage: python" in helped.stdout
