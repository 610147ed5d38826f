"""A server on the loopback interface that keeps what it is sent, and gives what it has."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Pages:
    """Pages by their path; a PUT replaces one."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.address = ""


@contextmanager
def served_pages() -> Iterator[Pages]:
    """Serve pages until the block ends."""
    pages = Pages()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            pages.pages[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(202)
            self.end_headers()

        def do_GET(self) -> None:
            page = pages.pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pages.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield pages
        server.shutdown()
        thread.join()
