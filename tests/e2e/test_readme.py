"""What the README says works, works: its blocks marked `<!-- runnable: NAME -->` are run as they stand.

The block `photos` is the whole way from a folder of pictures to an endpoint that agrees with `Predictor`.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from lib.bundle import read_bundle
from lib.predict.predictor import Predictor
from tests.conftest import free_port, write_photos

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"<!-- runnable: {name} -->\n```bash\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md has no runnable block {name}"
    return found[1]


def commands(name: str) -> list[list[str]]:
    """Split a block into commands as a shell would."""
    return [shlex.split(line) for line in block(name).replace("\\\n", " ").splitlines() if line.strip()]


def environment(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"MANTA_HOME": str(home), "PATH": path, "COLUMNS": "100"}


def run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=400
    )


@pytest.mark.integration
def test_from_a_folder_of_photos_to_an_endpoint_in_four_commands(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")
    picture = tmp_path / "photos/disc/003.jpg"

    *jobs, serve = commands("photos")
    for command in jobs:
        ended = run(command, tmp_path)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
    port = free_port()
    server = subprocess.Popen(
        [*serve, f"http.port={port}"],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if line.startswith("ready "):
                break
        assert said[-1:] == [f"ready http://127.0.0.1:{port}\n"], "".join(said)
        (curl,) = commands("request")
        assert curl[:2] == ["curl", "--data-binary"]
        url = curl[-1].replace(":8000", f":{port}").replace("top_k=3", "top_k=2")
        answer = httpx.post(url, content=picture.read_bytes(), timeout=60, trust_env=False).json()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0
    bundle = tmp_path / "runs/photos/bundle"
    expected = Predictor(bundle).predict([picture.read_bytes()])[0]
    found = sorted((p["index"], p["probability"]) for p in answer["predictions"])
    np.testing.assert_allclose([probability for _, probability in found], expected, atol=1e-5)
    assert answer["model"]["name"] == "photos"
    assert (
        {p["label"] for p in answer["predictions"]} == {"disc", "stripes"} == set(read_bundle(bundle).classes)
    )


def test_mistakes_are_answered_as_shown(tmp_path: Path) -> None:
    (command,) = commands("mistakes")
    ended = run(command, tmp_path)
    assert ended.returncode == 2
    shown = re.search(r"```\n(error: 2 mistakes.*?)```", README, re.DOTALL)
    assert shown
    assert ended.stderr == shown[1]


def test_every_file_that_the_readme_names_exists() -> None:
    for path in re.findall(r"(?:jobs|cluster|lib|serving|tests)/[a-z_/]+\.(?:py|sh|yaml)", README):
        assert (ROOT / path).exists(), path
