"""The commands that bring Manta up on kind, in order, as data.

for step in up_steps(KindConfig()):
    print(step.about, step.command)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.config.clusters import KindConfig

ROOT = Path(__file__).parents[2]
TOOLS = ("docker", "kind", "kubectl", "helm")
OPERATOR_CHARTS = "https://ray-project.github.io/kuberay-helm/"
# A release's objects are named RELEASE-CHART.
JOBS, ENDPOINT = "jobs", "endpoint"
SERVICE, TOKENS = f"{ENDPOINT}-manta-serve-serve-svc", f"{ENDPOINT}-manta-serve-tokens"


@dataclass(frozen=True)
class Step:
    """A command, what it is for, and what to look at if it fails."""

    about: str
    command: tuple[str, ...]
    hint: str = ""


def up_steps(config: KindConfig, exists: bool) -> Iterator[Step]:
    """Yield what leads from nothing to an endpoint; `exists` says whether the cluster is there already."""
    kubectl = ("kubectl", "--context", f"kind-{config.name}", "--namespace", config.name)
    charts = ROOT / "helm"
    if config.build:
        dockerfile = str(ROOT / "cluster/image/Dockerfile")
        build = ("docker", "build", "--file", dockerfile, "--build-arg", "VARIANT=cpu", "--tag", config.image)
        yield Step("build the image", (*build, str(ROOT)), "see cluster/image/README.md")
    if not exists:
        create = ("kind", "create", "cluster", "--name", config.name, "--wait", "180s")
        layout = ("--config", str(ROOT / "cluster/kind/cluster.yaml"))
        yield Step("create the cluster", (*create, *layout), "does Docker run?")
    load = ("kind", "load", "docker-image", config.image, "--name", config.name)
    yield Step(
        "load the image into it", load, "is the image there? docker images; or let it be built: build=true"
    )
    operator = _install(config, "kuberay-operator", "kuberay-operator", "kuberay-system")
    source = ("--repo", OPERATOR_CHARTS, "--version", config.operator_version)
    yield Step("install the operator", (*operator, *source), "kubectl -n kuberay-system get pods")
    jobs = _install(config, JOBS, str(charts / "manta-jobs"), config.name)
    # A laptop has no room for the endpoint beside the cluster of the job.
    leave = ("--set", "jobs.digits.ttlSecondsAfterFinished=10")
    yield Step("start the first job", (*jobs, *_values(config, charts / "manta-jobs"), *leave))
    yield Step(
        "wait for it: LeNet-5 learns digits",
        (*_wait(kubectl, "jsonpath={.status.jobStatus}=SUCCEEDED", "rayjob"), *_of(JOBS)),
        f"{' '.join(kubectl)} describe rayjob; docs/kubernetes.md, stuck jobs",
    )
    serve = _install(config, ENDPOINT, str(charts / "manta-serve"), config.name)
    yield Step("start the endpoint", (*serve, *_values(config, charts / "manta-serve")))
    yield Step(
        "wait for it",
        (*_wait(kubectl, "condition=Ready", "rayservice"), *_of(ENDPOINT)),
        f"{' '.join(kubectl)} describe rayservice; docs/kubernetes.md, slow start",
    )


def down_step(name: str) -> Step:
    """The cluster and all that is in it go."""
    return Step("delete the cluster", ("kind", "delete", "cluster", "--name", name), "does Docker run?")


def token_command(config: KindConfig) -> tuple[str, ...]:
    """Print the endpoint's tokens in base64."""
    where = ("--context", f"kind-{config.name}", "--namespace", config.name)
    return ("kubectl", *where, "get", "secret", TOKENS, "--output", "jsonpath={.data.tokens}")


def forward_command(config: KindConfig) -> tuple[str, ...]:
    """Forward a port of this machine to the endpoint, until it is ended."""
    where = ("--context", f"kind-{config.name}", "--namespace", config.name)
    return ("kubectl", *where, "port-forward", f"service/{SERVICE}", f"{config.port}:8000")


def _install(config: KindConfig, release: str, chart: str, namespace: str) -> tuple[str, ...]:
    where = ("--kube-context", f"kind-{config.name}", "--namespace", namespace, "--create-namespace")
    return ("helm", "upgrade", "--install", release, chart, *where)


def _values(config: KindConfig, chart: Path) -> tuple[str, ...]:
    repository, _, tag = config.image.rpartition(":")
    image = ("--set", f"image.repository={repository},image.tag={tag}")
    return ("--values", str(chart / "ci/minimal-values.yaml"), *image, "--dependency-update")


def _wait(kubectl: tuple[str, ...], condition: str, kind: str) -> tuple[str, ...]:
    return (*kubectl, "wait", kind, f"--for={condition}", "--timeout=1200s")


def _of(release: str) -> tuple[str, ...]:
    return ("--selector", f"app.kubernetes.io/instance={release}")
