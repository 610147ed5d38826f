"""The address of an endpoint: whether it may be used, whether it is free, whether it answers yet."""

import http.client
import ipaddress
import socket
import time

from lib.config.serving import GrpcSection, HttpSection, ServeConfig
from lib.errors import RunError, UserError
from serving.messages import SERVICE

READY_TIMEOUT_S = 60


def check_host(host: str) -> None:
    """Make sure that an endpoint without tokens may listen there; UserError if others could reach it."""
    address = ipaddress.ip_address(_resolve(host)[1].partition("%")[0])
    if not address.is_loopback:
        problem = f"http.host={host} would open the endpoint to other machines, and it asks for no token"
        raise UserError(problem, "give auth.token_file=FILE, one token a line: openssl rand -hex 32 > FILE")


def check_port(host: str, port: int, key: str = "http.port") -> None:
    """Make sure that nothing listens there yet; UserError if something does."""
    family, address = _resolve(host)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            hint = f"choose another {key}, or stop what listens there"
            raise UserError(f"{key}={port} cannot be used: {error.strerror}", hint) from None


def wait_until_ready(http: HttpSection, grpc: GrpcSection, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Wait until the endpoint says so itself, through everything that stands in front of it.

    Raises RunError after `timeout_s`.
    """
    host, port, end = http.host, http.port, time.monotonic() + timeout_s
    while not answers(host, port, "/v2/health/ready"):
        if time.monotonic() > end:
            raise RunError(f"http://{host}:{port} is not ready after {timeout_s:g} s")
        time.sleep(0.1)
    if grpc.port is not None:
        _wait_for_grpc(f"{host}:{grpc.port}", timeout_s)


def exposure(config: ServeConfig, has_tokens: bool) -> str:
    """Say who may come in, and where else."""
    also = f"gRPC at {config.http.host}:{config.grpc.port}; " if config.grpc.port else ""
    return also + ("asks for a token" if has_tokens else "open to this machine only, without a token")


def _wait_for_grpc(address: str, timeout_s: float) -> None:
    import grpc  # here, for an endpoint without gRPC is to start without it

    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/ServerReady")
        try:
            ask(b"", timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            raise RunError(f"gRPC at {address} is not ready: {error.details()}") from None


def listens(host: str, port: int) -> bool:
    """Tell whether anything listens there."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def answers(host: str, port: int, path: str) -> bool:
    """Tell whether GET `path` is answered with 200."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _resolve(host: str) -> tuple[int, str]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"http.host={host}: {error.strerror}", "use http.host=127.0.0.1") from None
    return family, str(address[0])
