"""Ray and Serve around one endpoint: what was started is stopped, what was there before stays.

with endpoint(config, joins=False):
    …                                   # the endpoint is up, and its golden check has passed
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from lib.cluster import connect
from lib.config.serving import ServeConfig
from lib.errors import RunError, UserError
from serving.app import DEPLOYMENT, NAME, application
from serving.listen import answers, check_port, listens
from serving.messages import SERVICER


@contextlib.contextmanager
def endpoint(config: ServeConfig, joins: bool) -> Iterator[None]:
    """Run an endpoint on the Ray at RAY_ADDRESS (`joins`), else on one of its own.

    Raises UserError if there is no such Ray, or no place on it; RunError if the endpoint does not come up.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        connect()
        found = bool(serve.status().proxies)
        _check(config, joins, found)
        try:
            serve.start(
                http_options={"host": config.http.host, "port": config.http.port},
                grpc_options=_grpc_options(config) if config.grpc.port else None,
            )
            _deploy(config)
            yield
        finally:
            serve.delete(NAME)  # returns when the replicas have finished what they were at
            if joins and not found and not serve.status().applications:
                serve.shutdown()  # type: ignore[no-untyped-call]  # Ray has no types here
    finally:
        ray.shutdown()


def _check(config: ServeConfig, joins: bool, found: bool) -> None:
    """Refuse, before anything is deployed, what could not come up or would push something else aside."""
    host, port, options = config.http.host, config.http.port, config.serve
    if not found:
        check_port(host, port)
        if config.grpc.port is not None:
            check_port(host, config.grpc.port, "grpc.port")
    elif NAME in serve.status().applications:
        problem = "this Ray runs an endpoint of Manta already"
        raise UserError(problem, "stop that one, or unset RAY_ADDRESS to give this one a Ray of its own")
    elif not answers(host, port, "/-/healthz"):
        problem = f"Serve runs on this Ray already, and does not listen at {host}:{port}"
        raise UserError(problem, "give http.host and http.port of the Serve that runs")
    elif config.grpc.port is not None and not listens(host, config.grpc.port):
        problem = f"Serve runs on this Ray already, without this service of gRPC at {host}:{config.grpc.port}"
        hint = f"start that Serve with {SERVICER} among its grpc_servicer_functions, or leave out grpc.port"
        raise UserError(problem, hint)
    if not joins:  # A cluster may grow; this machine does not.
        has = ray.cluster_resources()  # type: ignore[no-untyped-call]  # as above
        cores, gpus = (options.threads or 1) * options.min_replicas, options.use_gpu * options.min_replicas
        if cores > has.get("CPU", 0) or gpus > has.get("GPU", 0):
            problem = (
                f"the replicas need {cores} cores and {gpus} GPUs; this machine has "
                f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}"
            )
            raise UserError(problem, "lower serve.min_replicas or serve.threads, or leave out serve.use_gpu")


def _grpc_options(config: ServeConfig) -> dict[str, Any]:
    # Reflection would answer without a token.
    return {"port": config.grpc.port, "grpc_servicer_functions": [SERVICER], "enable_reflection": False}


def _deploy(config: ServeConfig) -> None:
    try:
        serve.run(application(config, start_attempts=1), name=NAME)
    except (RuntimeError, RayServeException) as error:
        app = serve.status().applications.get(NAME)
        deployment = app.deployments.get(DEPLOYMENT) if app else None
        cause = cause_of(deployment.message if deployment else str(error))
        raise RunError(
            f"the endpoint did not come up: {cause}", "see /tmp/ray/session_latest/logs/serve"
        ) from None


def cause_of(message: str) -> str:
    """Find the sentence in Serve's account of a failed replica, which is mostly a traceback."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    ours = [line.partition(": ")[2] for line in lines if line.startswith(("lib.errors.", "lib.images."))]
    return [*lines, *ours][-1] if lines else "no reason given"
