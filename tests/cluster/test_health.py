"""The health check of the image, against real servers: what listens has the word, else the node of Ray."""

import contextlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def server(path: str, status: int, body: bytes = b"") -> Iterator[str]:
    """Answer one path; yield the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield str(listening.server_address[1])
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("endpoint", "node", "healthy"),
    [
        (200, b"success", True),
        (503, b"success", False),
        (None, b"success", True),
        (None, b"failed", False),
        (None, None, False),
        (200, None, True),
    ],
)
def test_healthy_is_what_answers(endpoint: int | None, node: bytes | None, healthy: bool) -> None:
    with contextlib.ExitStack() as stack:
        http_port, agent_port = str(free_port()), str(free_port())
        if endpoint is not None:
            http_port = stack.enter_context(server("/v2/health/ready", endpoint))
        if node is not None:
            agent_port = stack.enter_context(server("/api/local_raylet_healthz", 200, node))
        ports = {"MANTA_HTTP_PORT": http_port, "MANTA_AGENT_PORT": agent_port}
        ended = subprocess.run(
            ["bash", str(ROOT / "cluster/image/health.sh")], env=os.environ | ports, timeout=30
        )
    assert (ended.returncode == 0) is healthy
