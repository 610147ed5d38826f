"""The requests that the README shows, as they stand there, against the real application."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib.config.serving import ServeConfig
from serving.gateway import Gateway
from serving.routes import create_app
from tests.listening import listening

Picture = Callable[..., bytes]
ROOT = Path(__file__).parents[2]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH: apt-get install curl")


def shown(name: str, url: str) -> str:
    """Return a block of the README, for an endpoint at another address."""
    found = re.search(
        rf"<!-- runnable: {name} -->\n```\w+\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert found, f"README.md has no runnable block {name}"
    return found[1].replace("http://127.0.0.1:8000", url.rstrip("/"))


@pytest.fixture(scope="module")
def url(bundle_path: Path) -> Iterator[str]:
    gateway = Gateway(ServeConfig(bundle=str(bundle_path)))
    with listening(create_app(lambda: gateway)) as url:
        yield url
    gateway.close()


@pytest.fixture
def run(picture: Picture, tmp_path: Path) -> Callable[[list[str]], str]:
    """Run a command where cat.jpg and dog.jpg lie, and return what it prints."""
    for seed, name in enumerate(("cat.jpg", "dog.jpg")):
        (tmp_path / name).write_bytes(picture(seed, kind="JPEG"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}

    def call(command: list[str]) -> str:
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return call


@needs_curl
@pytest.mark.integration
def test_curl(url: str, run: Callable[[list[str]], str]) -> None:
    lines = shown("requests", url).splitlines()
    assert all(line.startswith("curl ") for line in lines)
    two, many, explained, card = (json.loads(run(["sh", "-c", line])) for line in lines)
    assert len(two["predictions"]) == 2
    assert len(many) == 2
    labels = [[row["label"] for row in answer["predictions"]] for answer in (two, many[0])]
    assert labels[0] == labels[1][:2]
    assert explained["explanation"]["label"] == two["predictions"][0]["label"]
    assert card["name"] == "my-run"


@pytest.mark.integration
def test_python(url: str, run: Callable[[list[str]], str]) -> None:
    best, both = run([sys.executable, "-c", shown("client", url)]).splitlines()
    label, _, probability = best.rpartition(" ")
    assert label.startswith("digit ")
    assert 0 < float(probability) <= 1
    assert both.startswith(f"['{label}', 'digit ")
