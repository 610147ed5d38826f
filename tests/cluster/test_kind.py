"""python -m cluster.kind: its commands in order, with programs that note them in place of kind and helm.

No Docker runs where the tests do, so no kind cluster does; what the charts render is tested in tests/helm.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.kind.first_request import first_request
from cluster.kind.steps import ENDPOINT, JOBS, ROOT, SERVICE, TOKENS, TOOLS, Step, up_steps
from lib.config.clusters import KindConfig
from lib.config.load import load
from lib.errors import UserError
from tests.conftest import free_port
from tests.helm.charts import Charts, objects

# Notes its words, one line a call; fails where FAILS is among them, and plays the few answers that are read.
STAND_IN = """#!{python}
import base64, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
line = " ".join([name, *words])
with open(os.environ["NOTES"], "a") as notes:
    notes.write(line + "\\n")
if os.environ.get("FAILS") and os.environ["FAILS"] in line:
    sys.exit(1)
if words[:2] == ["get", "clusters"]:
    print(os.environ.get("CLUSTERS", ""))
if "secret" in words:
    print(base64.b64encode(b"token-1").decode(), end="")
if "port-forward" in words:
    class Endpoint(BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_let_in = self.headers["Authorization"] == "Bearer token-1"
            is_asked = self.command == "GET" or body.startswith(b"\\x89PNG")
            self.send_response(200 if is_let_in and is_asked else 401)
            self.end_headers()
            self.wfile.write(b'{{"predictions": []}}')
        do_GET = do_POST = answer
    HTTPServer(("127.0.0.1", int(words[-1].split(":")[0])), Endpoint).serve_forever()
"""


def kind(
    tmp_path: Path, *words: str, tools: tuple[str, ...] = TOOLS, **environment: str
) -> "subprocess.CompletedProcess[str]":
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for tool in tools:
        (programs / tool).write_text(STAND_IN.format(python=sys.executable))
        (programs / tool).chmod(0o755)
    path = {"PATH": str(programs), "NOTES": str(tmp_path / "notes")}
    inherited = {name: value for name, value in os.environ.items() if name != "PATH"}
    return subprocess.run(
        [sys.executable, "-m", "cluster.kind", *words],
        cwd=ROOT,
        env=inherited | path | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.integration
def test_every_step_is_taken_in_order_and_the_endpoint_is_asked(tmp_path: Path) -> None:
    up = kind(tmp_path, "up", f"port={free_port()}")
    assert up.returncode == 0, up.stdout + up.stderr
    noted = [" ".join(line.split()[:3]) for line in (tmp_path / "notes").read_text().splitlines()]
    assert noted == [
        "kind get clusters",
        "docker build --file",
        "kind create cluster",
        "kind load docker-image",
        "helm upgrade --install",
        "helm upgrade --install",
        "kubectl --context kind-manta",
        "helm upgrade --install",
        "kubectl --context kind-manta",
        "kubectl --context kind-manta",
        "kubectl --context kind-manta",
    ]
    assert '{"predictions": []}' in up.stdout
    assert "token-1" not in up.stdout


@pytest.mark.integration
def test_a_cluster_that_is_there_is_used_and_an_image_may_be_ready(tmp_path: Path) -> None:
    up = kind(tmp_path, "up", "build=false", f"port={free_port()}", tools=TOOLS[1:], CLUSTERS="other\nmanta")
    assert up.returncode == 0, up.stdout + up.stderr
    notes = (tmp_path / "notes").read_text()
    assert "create cluster" not in notes
    assert "docker build" not in notes


@pytest.mark.integration
def test_a_step_that_fails_is_named_and_ends_it(tmp_path: Path) -> None:
    up = kind(tmp_path, "up", FAILS="load docker-image")
    assert up.returncode == 1
    assert "could not load the image into it" in up.stderr
    assert "helm" not in (tmp_path / "notes").read_text()


@pytest.mark.integration
def test_missing_programs_are_all_named(tmp_path: Path) -> None:
    up = kind(tmp_path, "up", tools=("kubectl",))
    assert up.returncode == 2
    assert "not on PATH: docker, kind, helm" in up.stderr
    assert "kind down" not in kind(tmp_path, "down", "--dry-run").stderr
    assert kind(tmp_path).returncode == 2


@pytest.mark.integration
def test_down_deletes_the_cluster_and_no_other(tmp_path: Path) -> None:
    assert kind(tmp_path, "down", "name=mine").returncode == 0
    assert (tmp_path / "notes").read_text() == "kind delete cluster --name mine\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["image=manta"], "may be another image tomorrow"),
        (["image=manta:latest"], "give a tag other than latest"),
        (["image=Manta:1"], "is no image"),
        ([f"image=manta:1@sha256:{'0' * 64}"], "kind loads images by tag"),
        (["name=My_Cluster"], "name="),
        (["operator_version=v1.7"], "operator_version="),
        (["ports=1"], "did you mean port"),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        load(KindConfig, words)
    assert sentence in str(error.value)


def test_an_image_of_another_registry_is_told_to_the_charts() -> None:
    steps = list(up_steps(KindConfig(image="registry:5000/team/manta:0.2.0"), exists=True))
    told = [
        step.command
        for step in steps
        if "image.repository=registry:5000/team/manta,image.tag=0.2.0" in step.command
    ]
    assert len(told) == 2


def test_the_layout_is_one_node() -> None:
    layout = yaml.safe_load((ROOT / "cluster/kind/cluster.yaml").read_text())
    assert [node["role"] for node in layout["nodes"]] == ["control-plane"]


def test_files_that_are_named_exist() -> None:
    steps = up_steps(KindConfig(), exists=False)
    named = [word for step in steps for word in step.command if word.startswith(str(ROOT))]
    assert len(named) == 7
    assert [word for word in named if not Path(word).exists()] == []


def test_what_the_charts_render_is_what_the_steps_wait_for(tmp_path: Path) -> None:
    rendered = {}
    charts = Charts(tmp_path / "charts")
    for step in up_steps(KindConfig(image="team/manta:0.2.0"), exists=True):
        if "--values" in step.command:
            release, chart = step.command[3], Path(step.command[4]).name
            values = yaml.safe_load(Path(option(step, "--values")).read_text())
            for word, given in itertools.pairwise(step.command):
                if word == "--set":
                    for pair in given.split(","):
                        set_value(values, *pair.split("="))
            files = charts.files(chart, values, name=release)
            rendered[release] = {each["kind"]: each for each in objects(files)}
    charts.close()

    job, claim = rendered[JOBS]["RayJob"], rendered[JOBS]["PersistentVolumeClaim"]
    assert job["metadata"]["labels"]["app.kubernetes.io/instance"] == JOBS
    assert job["spec"]["ttlSecondsAfterFinished"] == 10
    service = rendered[ENDPOINT]["RayService"]
    assert service["metadata"]["labels"]["app.kubernetes.io/instance"] == ENDPOINT
    assert f"{service['metadata']['name']}-serve-svc" == SERVICE
    assert rendered[ENDPOINT]["Secret"]["metadata"]["name"] == TOKENS
    assert set(rendered[ENDPOINT]["Secret"]["data"]) == {"tokens"}
    # The endpoint finds what the job has made: the claim, and the image that was loaded.
    assert f"claimName: {claim['metadata']['name']}" in yaml.safe_dump(service)
    for made in (job, service):
        assert "image: team/manta:0.2.0" in yaml.safe_dump(made)


def option(step: Step, name: str) -> str:
    return step.command[step.command.index(name) + 1]


def set_value(values: dict[str, object], path: str, text: str) -> None:
    """Do what `--set` does."""
    *above, last = path.split(".")
    for part in above:
        values = values.setdefault(part, {})  # type: ignore[assignment]
    values[last] = int(text) if text.isdigit() else text


def test_an_endpoint_that_does_not_answer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Exception, match="does not answer"):
        first_request(KindConfig(port=free_port()), "token", timeout_s=0.1)
