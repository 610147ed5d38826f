"""The address of an endpoint: whether it may be used, whether it is free, whether it answers yet."""

import http.client
import ipaddress
import socket
import time

from lib.errors import RunError, UserError

READY_TIMEOUT_S = 60


def check_host(host: str) -> None:
    """Make sure that an endpoint without tokens may listen there; UserError if others could reach it."""
    address = ipaddress.ip_address(_resolve(host)[1].partition("%")[0])
    if not address.is_loopback:
        problem = f"http.host={host} would open the endpoint to other machines, and it asks for no token"
        raise UserError(problem, "give auth.token_file=FILE, one token a line: openssl rand -hex 32 > FILE")


def check_port(host: str, port: int) -> None:
    """Make sure that nothing listens there yet; UserError if something does."""
    family, address = _resolve(host)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            hint = "choose another http.port, or stop what listens there"
            raise UserError(f"http.port={port} cannot be used: {error.strerror}", hint) from None


def wait_until_ready(host: str, port: int, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Wait until the endpoint says so itself, through everything that stands in front of it.

    Raises RunError after `timeout_s`.
    """
    end = time.monotonic() + timeout_s
    while not answers(host, port, "/v2/health/ready"):
        if time.monotonic() > end:
            raise RunError(f"http://{host}:{port} is not ready after {timeout_s:g} s")
        time.sleep(0.1)


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
