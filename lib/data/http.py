"""Files of an http(s) server, by ranges. One request each; `lib.data.retry` repeats what is worth it.

    data = read_range("http://host/set/train-000000.tar", 512, 4096)

Connections are kept open and shared by threads. Redirects are followed within one scheme. Basic
authentication comes from the URI or from ~/.netrc.
"""

import netrc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, SSLError

from lib.data.location import public
from lib.data.retry import Transient
from lib.errors import RunError, UserError

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0

# More than threads that read; urllib3 warns of each connection that it cannot keep.
_CONNECTIONS_PER_HOST = 64
_MOST_REDIRECTS = 5
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class NotFound(UserError):
    """There is no such file."""


class ShortFile(RunError):
    """A file ends before the bytes that were asked for."""


def read_range(uri: str, offset: int, size_bytes: int) -> bytes:
    """Return `size_bytes` from `offset`.

    Raises `Transient`, `NotFound`, `ShortFile`, `UserError` if the server refuses, `RunError` if it does not
    do ranges.
    """
    wanted = {"Range": f"bytes={offset}-{offset + size_bytes - 1}"}
    with _request(uri, wanted) as response:
        if response.status == 200:
            # Without ranges; that is as good if all of the file was wanted.
            if offset or response.headers.get("Content-Length") != str(size_bytes):
                raise _no_ranges(uri)
        else:
            first, total = _content_range(uri, response)
            if offset + size_bytes > total:
                raise short_file(uri, offset + size_bytes, total)
            if response.status != 206 or first != offset:
                raise _no_ranges(uri)
        data = _body(response, size_bytes)
    if len(data) < size_bytes:
        raise Transient(f"{len(data):,} of {size_bytes:,} bytes arrived")
    return data


def read_all(uri: str, max_bytes: int) -> bytes:
    """Return a whole file; raises as `read_range` does, and `RunError` if it has more than `max_bytes`."""
    with _request(uri, {}) as response:
        data = _body(response, max_bytes + 1)
    if len(data) > max_bytes:
        raise RunError(f"{public(uri)} has more than {max_bytes:,} bytes", "is it the right file?")
    return data


def file_size(uri: str) -> int:
    """Return the size of a file in bytes; raises as `read_range` does."""
    # Not HEAD: addresses that are signed for GET refuse it.
    with _request(uri, {"Range": "bytes=0-0"}) as response:
        if response.status == 200:
            length = response.headers.get("Content-Length")
            if length is None:
                raise _no_ranges(uri)
            return int(length)
        return _content_range(uri, response)[1]


def short_file(location: str, wanted: int, total: int) -> ShortFile:
    """Make the error for bytes that a file does not have."""
    problem = f"{public(location)} has {total:,} bytes; at least {wanted:,} were expected"
    return ShortFile(problem, "restore the file, or pack the dataset again")


@lru_cache(maxsize=1)
def _pool() -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
    return urllib3.PoolManager(maxsize=_CONNECTIONS_PER_HOST, timeout=timeout, retries=False)


@contextmanager
def _request(uri: str, headers: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
    """Open a GET request, following redirects; errors of the connection and the server are raised."""
    here = uri
    try:
        for _ in range(_MOST_REDIRECTS + 1):
            response = _pool().urlopen(
                "GET",
                _without_user(here),
                headers={"Accept-Encoding": "identity", **headers, **_authorization(here)},
                redirect=False,
                preload_content=False,
            )
            try:
                target = response.get_redirect_location()
                if not target:
                    _check_status(uri, response)
                    yield response
                    return
                here = _redirected(here, urljoin(here, target))
            finally:
                # A connection with an unread rest is of no use; one that was read to its end is back already.
                response.close()
    except (LocationParseError, ValueError):
        raise UserError(f"{public(here)} is not an address", "expected http://HOST/PATH") from None
    except SSLError as error:
        raise UserError(f"{public(here)}: {_reason(error)}", "is its certificate trusted here?") from None
    except (HTTPError, OSError) as error:
        raise Transient(_reason(error)) from None
    raise RunError(f"{public(uri)} is redirected more than {_MOST_REDIRECTS} times")


def _redirected(here: str, target: str) -> str:
    if urlsplit(target).scheme != urlsplit(here).scheme:
        problem = f"{public(here)} is redirected to another scheme: {public(target)}"
        raise UserError(problem, "give that address, if you trust it")
    return target


def _check_status(uri: str, response: urllib3.BaseHTTPResponse) -> None:
    status, where = response.status, public(uri)
    if status in (200, 206, 416):
        return
    if status in _BUSY:
        raise Transient(f"the server answers {status} {response.reason}", _retry_after_s(response))
    if status in (404, 410):
        raise NotFound(f"{where} does not exist (the server answers {status})", "check the address")
    if status in (401, 403):
        hint = "for a user and password, add a line to ~/.netrc"
        raise UserError(f"{where} may not be read (the server answers {status})", hint)
    raise UserError(f"{where} cannot be read: the server answers {status} {response.reason}")


def _body(response: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes:
    """Read to the end, at most so many bytes; urllib3 raises if the connection ends before the body."""
    parts, left = [], most_bytes
    while left > 0 and (part := response.read(min(left, 2**20), decode_content=False)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _content_range(uri: str, response: urllib3.BaseHTTPResponse) -> tuple[int | None, int]:
    """Return the first byte of a partial answer, if it has any, and the size of the file."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not found:
        raise _no_ranges(uri)
    first, _, total = found.groups()
    return None if first is None else int(first), int(total)


def _no_ranges(uri: str) -> RunError:
    problem = f"the server of {public(uri)} does not answer requests for a part of a file"
    return RunError(problem, "use a server that does (nginx, Apache, any object store), or copy the dataset")


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float | None:
    """Read Retry-After: seconds, or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None


def _without_user(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _authorization(uri: str) -> dict[str, str]:
    parts = urlsplit(uri)
    if parts.password is not None:
        user, password = unquote(parts.username or ""), unquote(parts.password)
    elif (found := _netrc().get(parts.hostname or "")) is not None:
        user, password = found
    else:
        return {}
    return urllib3.make_headers(basic_auth=f"{user}:{password}")


@lru_cache(maxsize=1)
def _netrc() -> dict[str, tuple[str, str]]:
    path = Path.home() / ".netrc"
    if not path.is_file():
        return {}
    try:
        hosts = netrc.netrc(path).hosts
    except netrc.NetrcParseError as error:
        raise UserError(f"{path} cannot be read: {error.msg}", "repair it, or remove it") from None
    return {host: (user, password) for host, (user, _, password) in hosts.items()}


def _reason(error: Exception) -> str:
    """Say in short what went wrong, without the address, which may hold secrets."""
    inner = getattr(error, "reason", None) or error.__cause__ or error
    text = str(inner).rpartition("): ")[2] or type(inner).__name__
    return text.partition("(caused by")[0].strip() or type(inner).__name__
