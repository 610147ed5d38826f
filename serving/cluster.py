"""Ray and Serve around one endpoint: what was started is stopped, what was there before stays.

with endpoint(config, rollout, joins=False) as roll_out:
    …                                   # the endpoint is up, and its golden check has passed
    refused = roll_out(another)         # other versions, without a pause
"""

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from lib.cluster import connect
from lib.config.paths import input_path
from lib.config.rollout import Rollout
from lib.config.serving import ServeConfig
from lib.errors import RunError, UserError
from lib.predict.folder import read_folder
from serving.app import DEPLOYMENT, NAME, application
from serving.ledger import end_ledger
from serving.lineup import Followed
from serving.listen import answers, check_port, listens
from serving.messages import SERVICER
from serving.split import GATEWAY_CORES

# Changes the versions that are served; returns what was refused, and why.
RollOut = Callable[[Rollout], list[tuple[str, str]]]
_LOGS = "see /tmp/ray/session_latest/logs/serve"
# For loading and proving all versions, and how often is asked meanwhile.
_ANSWER_S = 120
_LOOK_S = 0.2


@contextlib.contextmanager
def endpoint(config: ServeConfig, rollout: Rollout, joins: bool) -> Iterator[RollOut]:
    """Run an endpoint on the Ray at RAY_ADDRESS (`joins`), else on one of its own.

    Yields a function that changes the versions that are served, and returns those that were refused. Raises
    UserError if there is no such Ray, or no place on it; RunError if the endpoint does not come up.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        connect()
        found = bool(serve.status().proxies)
        _check(config, joins, found)
        try:
            patience = _patience(config)
            serve.start(
                http_options={"host": config.http.host, "port": config.http.port, **patience},
                grpc_options=_grpc_options(config) | patience if config.grpc.port else None,
            )
            code_version = uuid.uuid4().hex
            _deploy(config, rollout, code_version)
            with _running_loop() as loop:
                yield partial(_roll_out, config, code_version, loop)
        finally:
            serve.delete(NAME)  # returns when the replicas have finished what they were at
            if joins:
                end_ledger(NAME)
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
        each = len(read_folder(input_path(config.bundle)).bundles) if options.placement == "split" else 1
        replicas = max(1, options.min_replicas)
        cores, gpus = (options.threads or 1) * replicas * each, options.use_gpu * replicas * each
        cores += GATEWAY_CORES * replicas * (options.placement == "split")
        if cores > has.get("CPU", 0) or gpus > has.get("GPU", 0):
            problem = (
                f"the replicas need {cores} cores and {gpus} GPUs; this machine has "
                f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}"
            )
            raise UserError(problem, "lower serve.min_replicas or serve.threads, or leave out serve.use_gpu")


def _grpc_options(config: ServeConfig) -> dict[str, Any]:
    # Reflection would answer without a token.
    return {"port": config.grpc.port, "grpc_servicer_functions": [SERVICER], "enable_reflection": False}


def _patience(config: ServeConfig) -> dict[str, float]:
    """Bound what Serve's own proxy waits for: it takes the requests while there is no replica."""
    options = config.serve
    if options.min_replicas > 0:
        return {}
    return {"request_timeout_s": options.start_timeout_s + options.request_timeout_s}


def _roll_out(
    config: ServeConfig, code_version: str, loop: asyncio.AbstractEventLoop, rollout: Rollout
) -> list[tuple[str, str]]:
    """Change the versions; raises RunError if Serve does not do so, and then those before go on."""
    try:
        serve.run(application(config, rollout, code_version=code_version), name=NAME)
        replicas = serve.status().applications[NAME].deployments[DEPLOYMENT].replica_states
        if not {"RUNNING", "UPDATING", "STARTING"} & set(map(str.upper, replicas)):
            return []  # asking would start one
        return asyncio.run_coroutine_threadsafe(_refused(rollout), loop).result()
    except (RuntimeError, RayServeException, RayError, TimeoutError) as error:
        raise RunError(f"the versions may not have changed: {cause_of(str(error))}", _LOGS) from None


async def _refused(rollout: Rollout) -> list[tuple[str, str]]:
    """Ask until a replica answers that has followed, for another may be loading still."""
    handle = serve.get_app_handle(NAME)
    async with asyncio.timeout(_ANSWER_S):
        while True:
            followed: Followed = await handle.followed.remote()
            if followed.rollout == rollout:
                return list(followed.refused)
            await asyncio.sleep(_LOOK_S)


@contextlib.contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop beside this thread, for Serve's handles belong to the loop that first used them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _deploy(config: ServeConfig, rollout: Rollout, code_version: str) -> None:
    # One replica proves the golden images, though there may be none at rest.
    initial = max(1, config.serve.min_replicas)
    built = application(
        config, rollout, start_attempts=1, initial_replicas=initial, code_version=code_version
    )
    try:
        serve.run(built, name=NAME)
    except (RuntimeError, RayServeException) as error:
        app = serve.status().applications.get(NAME)
        deployment = app.deployments.get(DEPLOYMENT) if app else None
        cause = cause_of(deployment.message if deployment else str(error))
        raise RunError(f"the endpoint did not come up: {cause}", _LOGS) from None


def cause_of(message: str) -> str:
    """Find the sentence in Serve's account of a failed replica, which is mostly a traceback."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    ours = [line.partition(": ")[2] for line in lines if line.startswith(("lib.errors.", "lib.images."))]
    return [*lines, *ours][-1] if lines else "no reason given"
