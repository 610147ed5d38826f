"""Which trackers are told the figures of a run."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from lib.config.paths import is_uri
from lib.config.section import Section


def _tracking_uri(text: str) -> str:
    """Accept the address of an MLflow server or database, without a password."""
    scheme, _, rest = text.partition("://")
    if not is_uri(text) or scheme == "file":
        raise ValueError(
            f"{text!r} is neither a server (http://HOST:5000) nor a database (sqlite:////DIR/x.db)"
        )
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise ValueError("a password would be kept with the run; set MLFLOW_TRACKING_PASSWORD instead")
    if scheme == "sqlite" and not rest.startswith("//"):
        raise ValueError(
            "workers may run in another folder: four slashes begin an absolute path, sqlite:////DIR/x.db"
        )
    return text


def _project(text: str) -> str:
    """Accept PROJECT or ENTITY/PROJECT."""
    if not re.fullmatch(r"([\w.-]+/)?[\w.-]+", text):
        raise ValueError(f"{text!r} names no project; give PROJECT or ENTITY/PROJECT")
    return text


def _metrics_target(text: str) -> str:
    """Accept the absolute path of a folder, or the address of a push gateway without a password."""
    if text.startswith(("http://", "https://")):
        if "@" in text.partition("://")[2].partition("/")[0]:
            raise ValueError("a password would be kept with the run; let a proxy beside the job add it")
    elif not text.startswith("/"):
        raise ValueError(f"{text!r} is neither a folder (/DIR) nor a push gateway (http://HOST:9091)")
    return text


class JobTrackSection(Section):
    """Where the figures of a job go when it ends; what fails there is a warning, no more."""

    prometheus: Annotated[str, AfterValidator(_metrics_target)] | None = Field(
        default=None, examples=["/var/lib/node_exporter", "http://127.0.0.1:9091"]
    )
    """Leave the figures of the job for Prometheus: in a folder that node-exporter's textfile collector reads,
    or at a push gateway. They replace those of the last job of its kind."""


class TrackSection(JobTrackSection):
    """Where the figures of each epoch go besides metrics.jsonl; what fails there is a warning, no more."""

    metrics: bool = True
    """Let worker 0 export metrics through Ray while it trains; without Ray, to track.prometheus."""
    tensorboard: bool = False
    """Write event files to tensorboard/ of the run."""
    mlflow: Annotated[str, AfterValidator(_tracking_uri)] | None = Field(
        default=None, examples=["http://127.0.0.1:5000", "sqlite:////data/mlflow.db"]
    )
    """Address of an MLflow server or database. The experiment is manta, or as MLFLOW_EXPERIMENT_NAME says."""
    wandb: Annotated[str, AfterValidator(_project)] | None = Field(
        default=None, examples=["manta", "team/manta"]
    )
    """Project of Weights & Biases; key, server and mode as its own variables say (WANDB_API_KEY, …)."""
