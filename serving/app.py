"""Manta as a Ray Serve application.

serve run serving.app:build bundle=runs/digits/bundle serve.max_replicas=4
python -m serving bundle=runs/digits/bundle                # the same, with the flags that make it fast

In a Serve config file the same keys stand under `args:`, dotted or nested.
"""

import asyncio
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from lib.config.load import load
from lib.config.paths import input_path, output_path
from lib.config.rollout import Rollout
from lib.config.serving import ServeConfig, ServeSection
from lib.console import is_json, say
from lib.errors import UserError
from lib.predict.folder import read_folder
from lib.runtime import ENVIRONMENT
from serving.access import Door
from serving.accesslog import AccessLog
from serving.auth import Tokens, read_tokens
from serving.board import Board
from serving.gateway import Gateway
from serving.grpc_service import rpc
from serving.lineup import Followed
from serving.reporting import Reporter
from serving.rollout import read_rollout, words
from serving.routes import create_app
from serving.split import GATEWAY_CORES, TARGET_ONGOING, MemberReplica, elsewhere
from serving.tracing import check_tracing, make_tracer
from serving.version import HERE

NAME = "manta"
DEPLOYMENT = "Gateway"
# Requests beyond the gateway's own places still have to be let in, to be told 429, health or the model.
_HEADROOM = 1024
# How often a replica says how busy it is.
_REPORTED_S = 10.0


def build(args: dict[str, Any]) -> Application:
    """Build the application from the words of `serve run`, or from `args:` of a Serve config file.

    Raises UserError with every mistake, one line each.
    """
    config = load(ServeConfig, list(words(args)), prog="serve run serving.app:build").config
    if config.rollout.file is not None:
        problem = "rollout.file is read by python -m serving"
        raise UserError(problem, f"give its content as user_config of the deployment {DEPLOYMENT}")
    for name in ("http", "grpc"):
        section = getattr(config, name)
        if section != type(section)():
            say(f"note: under `serve run` Serve's own {name}_options set the address; {name}.* has no effect")
    return application(config)


def application(
    config: ServeConfig,
    rollout: Rollout | None = None,
    *,
    start_attempts: int = 3,
    initial_replicas: int | None = None,
    code_version: str | None = None,
) -> Application:
    """Build the application; a replica whose constructor fails is tried `start_attempts` times.

    What a `rollout` says is the `user_config` of the gateways: they change with it and are not started again,
    if `code_version` stays the same; without one Serve takes every application for new code.
    """
    log = config.log
    if log.access_dir is not None:
        log = log.model_copy(update={"access_dir": str(output_path(log.access_dir))})
    config = config.model_copy(update={"bundle": str(input_path(config.bundle)), "log": log})
    tokens = read_tokens(config.auth)
    check_tracing(config.tracing)
    options = config.serve
    members: dict[str, Application] = {}
    if options.placement == "split":
        for bundle in read_folder(Path(config.bundle)).bundles:
            deployment = _deployment(
                MemberReplica,
                name=f"Member-{bundle.version}",
                version=code_version,
                ray_actor_options=_actor(config, options.threads or 1, options.use_gpu),
                max_ongoing_requests=options.max_queued + options.max_batch_size,
                max_constructor_retry_count=start_attempts,
                **_scale(options, TARGET_ONGOING, initial_replicas),
                **_shutdown(options),
            )
            members[bundle.version] = deployment.bind(str(bundle.path), config)
    # A replica has enough to do when each batch can be filled while the last one runs.
    target = options.target_ongoing_requests or float(options.max_batch_size)
    places = options.max_queued + options.max_batch_size
    gateways = _deployment(
        Replica,
        name=DEPLOYMENT,
        version=code_version,
        user_config=(rollout or Rollout()).model_dump(mode="json"),
        ray_actor_options=_actor(config, GATEWAY_CORES, False)
        if members
        else _actor(config, options.threads or 1, options.use_gpu),
        max_ongoing_requests=places + _HEADROOM,
        # Of those that wait while there is no replica; gateways have their own limit, which is lower.
        max_queued_requests=places * options.max_replicas + _HEADROOM,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        max_constructor_retry_count=start_attempts,
        logging_config={
            "enable_access_log": config.log.access_dir is None,
            "encoding": "JSON" if is_json() else "TEXT",
        },
        **_scale(options, target, initial_replicas),
        **_shutdown(options),
    )
    return gateways.bind(config, tokens, members)


def _deployment(made_of: type, version: str | None, **options: Any) -> serve.Deployment:
    deployment = serve.deployment(**options)(made_of)
    # Serve has no public word for it, and makes up a version for each deployment otherwise.
    return deployment if version is None else deployment.options(version=version, _internal=True)


def _scale(options: ServeSection, target: float, initial_replicas: int | None) -> dict[str, Any]:
    surge = {"max_surge_percent": round(100 * options.surge_fraction)}
    if options.max_replicas == options.min_replicas:
        return surge | {"num_replicas": options.min_replicas}
    with warnings.catch_warnings():
        # Ray 2.60 announces variables of the environment for the interval, and does not read them yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        scaling = AutoscalingConfig(
            min_replicas=options.min_replicas,
            initial_replicas=initial_replicas,
            max_replicas=options.max_replicas,
            target_ongoing_requests=target,
            upscale_delay_s=options.upscale_delay_s,
            downscale_delay_s=options.downscale_delay_s,
            metrics_interval_s=min(_REPORTED_S, options.scale_window_s / 3),
            look_back_period_s=options.scale_window_s,
        )
    return surge | {"autoscaling_config": scaling}


def _shutdown(options: ServeSection) -> dict[str, Any]:
    # What is admitted ends within the timeout, so a replica that drains for that long loses nothing.
    return {
        "graceful_shutdown_timeout_s": options.request_timeout_s + 5,
        "graceful_shutdown_wait_loop_s": 0.2,
    }


def _actor(config: ServeConfig, cores: int, use_gpu: bool) -> dict[str, Any]:
    return {
        "num_cpus": cores,
        "num_gpus": int(use_gpu),
        "runtime_env": {"env_vars": ENVIRONMENT | _message_limit(config)},
    }


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

    gateway: Gateway

    def __init__(self, config: ServeConfig, tokens: Tokens, members: Mapping[str, Any]) -> None:
        folder = config.log.access_dir
        self._config = config
        self._members = members
        log = AccessLog(Path(folder)) if folder else None
        self.door = Door(tokens, log, make_tracer(config.tracing), echo_id=False)

    async def reconfigure(self, user_config: Any) -> None:
        """Serve the versions of a rollout; called by Serve before it checks a replica, and on a change.

        Raises at the start only: Serve would replace a replica that raises later, and no version is worth
        the one that answers now.
        """
        if hasattr(self, "gateway"):
            try:
                await self.gateway.change(read_rollout(user_config))
            except UserError as error:
                self.gateway.refuse("user_config", error)
            return
        rollout, placing = read_rollout(user_config), HERE
        if self._members:
            placing = elsewhere(self._members, self._config.serve, asyncio.get_running_loop())
        context = serve.get_replica_context()
        board = Board(context.replica_tag)
        # In a thread, for members elsewhere are asked through this loop.
        self.gateway = await asyncio.to_thread(Gateway, self._config, rollout, placing, board.share)
        self.gateway.watch()
        if self._config.serve.metrics:
            self._reporter = Reporter(context.app_name, context.replica_tag, self.gateway)
            self._reporting = asyncio.create_task(self._reporter.run())

    async def followed(self) -> Followed:
        """Return the last rollout that this replica is done with, and what it refused of it."""
        return self.gateway.followed

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
        if hasattr(self, "_reporter"):
            self._reporter.close()
        if hasattr(self, "gateway"):
            self.gateway.close()
        if hasattr(self, "door"):
            self.door.close()
