"""Manta as a Ray Serve application.

serve run serving.app:build bundle=runs/digits/bundle serve.max_replicas=4
python -m serving bundle=runs/digits/bundle                # the same, with the flags that make it fast

In a Serve config file the same keys stand under `args:`, dotted or nested.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from lib.config.load import load
from lib.config.paths import input_path, output_path
from lib.config.serving import ServeConfig
from lib.console import say
from lib.runtime import ENVIRONMENT
from serving.access import Door
from serving.accesslog import AccessLog
from serving.auth import Tokens, read_tokens
from serving.gateway import Gateway
from serving.grpc_service import rpc
from serving.routes import create_app
from serving.tracing import check_tracing, make_tracer

NAME = "manta"
DEPLOYMENT = "Gateway"
# Requests beyond the gateway's own places still have to be let in, to be told 429, health or the model.
_HEADROOM = 1024


def build(args: dict[str, Any]) -> Application:
    """Build the application from the words of `serve run`, or from `args:` of a Serve config file.

    Raises UserError with every mistake, one line each.
    """
    config = load(ServeConfig, list(_words(args)), prog="serve run serving.app:build").config
    for name in ("http", "grpc"):
        section = getattr(config, name)
        if section != type(section)():
            say(f"note: under `serve run` Serve's own {name}_options set the address; {name}.* has no effect")
    return application(config)


def application(config: ServeConfig, start_attempts: int = 3) -> Application:
    """Build the application; a replica whose constructor fails is tried `start_attempts` times."""
    log = config.log
    if log.access_dir is not None:
        log = log.model_copy(update={"access_dir": str(output_path(log.access_dir))})
    config = config.model_copy(update={"bundle": str(input_path(config.bundle)), "log": log})
    tokens = read_tokens(config.auth)
    check_tracing(config.tracing)
    options = config.serve
    scale: dict[str, Any] = {"num_replicas": options.min_replicas}
    if options.max_replicas > options.min_replicas:
        # A replica has enough to do when each batch can be filled while the last one runs.
        scale = {
            "autoscaling_config": {
                "min_replicas": options.min_replicas,
                "max_replicas": options.max_replicas,
                "target_ongoing_requests": options.max_batch_size,
            }
        }
    deployment = serve.deployment(
        name=DEPLOYMENT,
        ray_actor_options={
            "num_cpus": options.threads or 1,
            "num_gpus": int(options.use_gpu),
            "runtime_env": {"env_vars": ENVIRONMENT | _message_limit(config)},
        },
        max_ongoing_requests=options.max_queued + options.max_batch_size + _HEADROOM,
        # What is admitted ends within the timeout, so a replica that drains for that long loses nothing.
        graceful_shutdown_timeout_s=options.request_timeout_s + 5,
        graceful_shutdown_wait_loop_s=0.2,
        max_constructor_retry_count=start_attempts,
        logging_config={"enable_access_log": config.log.access_dir is None},
        **scale,
    )(Replica)
    return deployment.bind(config, tokens)


def _message_limit(config: ServeConfig) -> dict[str, str]:
    """Let gRPC itself refuse what is far too large, before it is in memory; a little more is told kindly."""
    return {"RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(int(config.limits.max_body_mb * 1e6) + 1_000_000)}


def _create_app() -> FastAPI:
    """Called by Serve in the replica; the replica object exists by the time that requests come."""

    def replica() -> "Replica":
        return cast(Replica, serve.get_replica_context().servable_object)

    return create_app(lambda: replica().gateway, lambda: replica().door)


@serve.ingress(_create_app)
class Replica:
    """What Serve starts, checks and stops."""

    def __init__(self, config: ServeConfig, tokens: Tokens) -> None:
        folder = config.log.access_dir
        self.gateway = Gateway(config)
        log = AccessLog(Path(folder)) if folder else None
        self.door = Door(tokens, log, make_tracer(config.tracing), echo_id=False)

    def check_health(self) -> None:
        self.gateway.check_health()

    # Serve looks for the methods of a gRPC service by their names.
    ServerLive = rpc("ServerLive")
    ServerReady = rpc("ServerReady")
    ModelReady = rpc("ModelReady")
    ServerMetadata = rpc("ServerMetadata")
    ModelMetadata = rpc("ModelMetadata")
    ModelInfer = rpc("ModelInfer")
    RepositoryIndex = rpc("RepositoryIndex")

    def __del__(self) -> None:
        if hasattr(self, "gateway"):
            self.gateway.close()
        if hasattr(self, "door"):
            self.door.close()


def _words(args: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Flatten nested arguments to the `dotted.key=value` words of the command line."""
    for key, value in args.items():
        if isinstance(value, Mapping):
            yield from _words(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)
            yield f"{prefix}{key}={text.removesuffix('...' + chr(10)).strip()}"
