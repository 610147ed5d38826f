"""Servers over loopback that misbehave when they are told to: files over HTTP, and an S3 behind a proxy."""

import base64
import logging
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import urllib3

Answer = tuple[int, dict[str, str], bytes]
Source = Callable[[str, str, Mapping[str, str]], Answer]


@dataclass
class Server:
    """A running server: what it was asked, and how it is to fail.

    Each fault of `faults` is used for one request, in order; `always` for all that follow.
    drop: half of the body, then the connection is reset. reset: no answer at all. truncate: less than was
    asked for, in good form. no-ranges: all of the file. corrupt: a flipped bit. slow: in small pieces.
    Numbers are answered as that status, 503+1 with Retry-After: 1; redirect:URI redirects.
    """

    source: Source
    url: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    always: str | None = None
    authorizations: list[str] = field(default_factory=list)
    clients: set[int] = field(default_factory=set)

    @property
    def ranges(self) -> list[tuple[str, int, int]]:
        """Path, first byte and size of each range that was asked for."""
        found = []
        for _, path, text in self.requests:
            if text:
                first, last = map(int, text.removeprefix("bytes=").split("-"))
                found.append((path, first, last - first + 1))
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    shared: Server

    def do_GET(self) -> None:
        shared = self.shared
        shared.requests.append((self.command, self.path, self.headers.get("Range", "")))
        shared.clients.add(self.client_address[1])
        shared.authorizations.append(self.headers.get("Authorization", ""))
        fault = shared.faults.pop(0) if shared.faults else shared.always
        if fault == "reset":
            return self._reset()
        headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
        if fault == "no-ranges":
            headers.pop("Range", None)
        status, answered, body = shared.source(self.command, self.path, headers)
        if fault and fault[:3].isdigit():
            code, _, wait = fault.partition("+")
            status, answered, body = int(code), {"Retry-After": wait} if wait else {}, b""
        elif fault and fault.startswith("redirect:"):
            status, answered, body = 302, {"Location": fault.removeprefix("redirect:")}, b""
        elif fault == "truncate":
            body = body[: len(body) // 2]
        elif fault == "corrupt" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(status)
        answered.setdefault("Content-Length", str(len(body)))
        if self.command != "HEAD":
            answered["Content-Length"] = str(len(body))
        for name, value in answered.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if fault == "drop":
            self.wfile.write(body[: len(body) // 2])
            return self._reset()
        if fault == "slow":
            for first in range(0, len(body), 1 + len(body) // 5):
                self.wfile.write(body[first : first + 1 + len(body) // 5])
                self.wfile.flush()
                time.sleep(0.02)
            return None
        self.wfile.write(body)
        return None

    do_HEAD = do_GET

    def _reset(self) -> None:
        self.wfile.flush()
        # With a linger of nothing, closing sends RST.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True  # reset above

    def log_message(self, *_: object) -> None: ...


class _Threads(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None: ...


@contextmanager
def serve(source: Source) -> Iterator[Server]:
    """Run a server in this process."""
    shared = Server(source)
    handler = type("Handler", (_Handler,), {"shared": shared})
    with _Threads(("127.0.0.1", 0), handler) as server:
        shared.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield shared
        finally:
            server.shutdown()
            thread.join()


def files_of(root: Path) -> Source:
    """Answer with the files below a folder, whole or in part."""

    def answer(_method: str, path: str, headers: Mapping[str, str]) -> Answer:
        file = root / unquote(path.partition("?")[0]).lstrip("/")
        if not file.is_file():
            return 404, {}, b""
        content = file.read_bytes()
        if "Range" not in headers:
            return 200, {}, content
        first, last = map(int, headers["Range"].removeprefix("bytes=").split("-"))
        if first >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        last = min(last, len(content) - 1)
        return 206, {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1]

    return answer


def forwarded(upstream: str) -> Source:
    """Answer with what another server answers."""
    pool = urllib3.PoolManager()

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        # With the Host that the client signed.
        response = pool.request(method, upstream + path, headers=dict(headers), redirect=False)
        dropped = {"connection", "transfer-encoding", "date", "server"}
        kept = {name: value for name, value in response.headers.items() if name.lower() not in dropped}
        return response.status, kept, response.data

    return answer


def basic(user: str, password: str) -> str:
    """Return the header of basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def serve_s3() -> Iterator[str]:
    """Run an empty S3 server in this process; give its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    # The process keeps the objects of every server that it has run.
    urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"").close()
    try:
        yield endpoint
    finally:
        server.stop()


def put_objects(endpoint: str, bucket: str, objects: Mapping[str, bytes]) -> None:
    """Create a bucket with these objects, for everyone to read."""
    import boto3

    session = boto3.Session("testing", "testing", region_name="us-east-1")
    client = session.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=bucket)
    for key, data in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=data, ACL="public-read")
    client.close()
