"""What a cluster may be told: the words of `python -m cluster.local`, `observe`, `kind` and `vm`."""

import ipaddress
import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from lib.config.section import Auto, Count, Section


def _port(port: int) -> int:
    """Accept a port that Ray does not give to its workers."""
    if 10002 <= port <= 19999:
        raise ValueError(f"{port} is among the ports of Ray's workers, 10002 to 19999; choose another")
    return port


Port = Annotated[int, Field(ge=1024, le=65535)]
RayPort = Annotated[Port, AfterValidator(_port)]


def _image(text: str) -> str:
    """Accept an image whose content cannot change under its name: a version or a digest, never `latest`."""
    name, _, digest = text.partition("@")
    _, _, tag = name.rpartition("/")[2].partition(":")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._/:-]*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", text) or "::" in text:
        raise ValueError(f"{text!r} is no image; write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST")
    if not digest and tag in ("", "latest"):
        raise ValueError(f"{text} may be another image tomorrow; give a tag other than latest, or a digest")
    return text


def _host(text: str) -> str:
    """Accept an IP address or a host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
        if re.fullmatch(r"[\d.]+", text) or not re.fullmatch(rf"{label}(\.{label})*", text):
            raise ValueError(f"{text!r} is neither an IP address nor a host name") from None
    return text


ClusterName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
Image = Annotated[str, AfterValidator(_image)]
Host = Annotated[str, AfterValidator(_host)]


class FolderConfig(Section):
    """Which local Ray is meant."""

    folder: str = "runs/cluster"
    """Folder of this Ray: its token, the variables that join it, its logs."""


class LocalConfig(FolderConfig):
    """Start a Ray on this machine, with metrics and a token, for loopback only."""

    port: RayPort = 6379
    """Port that jobs join at (RAY_ADDRESS)."""
    dashboard_port: RayPort = 8265
    """Port of the dashboard and of `ray job submit`."""
    metrics_port: RayPort = 8080
    """Port that Prometheus reads this node at."""
    num_cpus: Count | Auto = "auto"
    """Cores that Ray may give away; auto: all."""
    num_gpus: Annotated[int, Field(ge=0)] | Auto = "auto"
    """GPUs that Ray may give away; auto: all."""
    object_store_mb: Annotated[int, Field(ge=80)] | Auto = "auto"
    """Shared memory for objects, in 10^6 bytes; auto: what Ray takes, 30 % of the memory."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """How long Ray may take to start."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        given = {"port": self.port, "dashboard_port": self.dashboard_port, "metrics_port": self.metrics_port}
        for key, port in given.items():
            other = next((name for name, value in given.items() if value == port and name != key), None)
            if other:
                raise ValueError(f"{other}={port} is {key} too; choose another")
        return self


class ObserveFolderConfig(Section):
    """Which Prometheus is meant."""

    folder: str = "runs/observe"
    """Folder of this Prometheus: its configuration, its data, its log."""


class ObserveConfig(ObserveFolderConfig):
    """Start Prometheus on this machine, and Grafana where it is installed, for loopback only."""

    port: Port = 9090
    """Port of Prometheus."""
    grafana_port: Port = 3000
    """Port of Grafana."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "runs/cluster/targets.json",
        "/tmp/ray/prom_metrics_service_discovery.json",
    )
    """Files in which a Ray says what is read of it: that of `cluster.local`, and of a Ray that was started
    otherwise. They may come and go."""
    interval_s: Count = 5
    """How often Prometheus reads, and looks at the rules."""
    keep_days: Count = 15
    """How long it keeps what it has read."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long it may take to start."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.port == self.grafana_port:
            raise ValueError(f"grafana_port={self.port} is port too; choose another")
        return self


class KindConfig(Section):
    """Bring Manta up on a Kubernetes of this machine (kind): operator, charts, first job, first request."""

    name: ClusterName = "manta"
    """Name of the kind cluster, and of the namespace in it."""
    image: Image = "manta:0.1.0"
    """Image of Manta; it is loaded into the cluster, so it needs no registry."""
    build: bool = True
    """Build the image first, in its CPU variant."""
    operator_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.7.0"
    """Version of the KubeRay operator's chart."""
    port: Port = 8000
    """Port of this machine that is forwarded to the endpoint."""

    @model_validator(mode="after")
    def _is_loaded_by_tag(self) -> Self:
        if "@" in self.image:
            raise ValueError(f"image={self.image}: kind loads images by tag; give NAME:TAG")
        return self


class KindDownConfig(Section):
    """Which kind cluster is meant."""

    name: ClusterName = "manta"
    """Name of the kind cluster."""


class VmConfig(Section):
    """Write the file of Ray's cluster launcher for machines that are there already."""

    head: Host = Field(examples=["10.0.0.10"])
    """Address of the head, as you and the workers reach it over SSH."""
    workers: tuple[Host, ...] = Field(default=(), examples=[["10.0.0.11", "10.0.0.12"]])
    """Addresses of the workers."""
    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "ubuntu"
    """User on the machines; needs no rights of an administrator."""
    key: str = "~/.ssh/id_ed25519"
    """Private key that all machines accept; it is copied to the head, which starts the workers."""
    storage: Annotated[str, Field(pattern=r"^/[\w./-]+$")] = "/srv/manta"
    """Folder that all machines see (NFS, say), for datasets and runs: MANTA_HOME."""
    extras: Annotated[str, Field(pattern=r"^[a-z]+(,[a-z]+)*$")] = "train,serve"
    """What is installed of Manta."""
    name: ClusterName = "manta"
    """Name of the cluster."""
    token_file: str = "runs/vm/token"
    """File with the token of this cluster; made if it is missing."""
    out: str = "runs/vm/cluster.yaml"
    """File to write."""

    @model_validator(mode="after")
    def _machines_differ(self) -> Self:
        machines = [self.head, *self.workers]
        twice = sorted({each for each in machines if machines.count(each) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: given twice; name each machine once, the head among them")
        return self
