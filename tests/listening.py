"""An ASGI application on a real port, without Ray.

with listening(create_app(lambda: gateway)) as url:
    httpx.get(url)
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from tests.conftest import free_port


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """Serve an application on the loopback interface, and yield its address with a slash at the end."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join()
