"""Files of object stores, through pyarrow's file systems: s3://, gs://, abfs:// and what else it knows.

    data = read_range("s3://bucket/set/train-000000.tar", 512, 4096)

For S3 the query of a URI may hold `region`, `endpoint_override`, `scheme` and `anonymous=true`; the endpoint
may also come from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, which pyarrow itself does not read. Credentials
come from where the AWS, Google and Azure tools take them.
"""

import os
import re
from collections import OrderedDict
from functools import lru_cache
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import pyarrow as pa
from pyarrow import fs

from lib.data.http import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, NotFound, short_file
from lib.data.location import public, split_query
from lib.data.retry import Transient
from lib.errors import RunError, UserError

_S3_OPTIONS = ("region", "endpoint_override", "scheme", "anonymous")
_MISSING = ("NO_SUCH_BUCKET", "NoSuchBucket", "' not found")
# Open files: each knows its size, so that reading again is one request, and holds no connection.
_MAX_OPEN = 512
_REFUSALS = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_SIGNATURE",
             "MISSING_AUTHENTICATION_TOKEN", "EXPIRED_TOKEN", "HTTP status 401", "HTTP status 403",
             "code 401", "code 403", "PERMISSION_DENIED", "UNAUTHENTICATED")  # fmt: skip

_open_files: OrderedDict[str, pa.NativeFile] = OrderedDict()
_lock = Lock()


def read_range(uri: str, offset: int, size_bytes: int) -> bytes:
    """Return `size_bytes` from `offset`.

    Raises `Transient`, `NotFound`, `ShortFile`, and `UserError` if the store refuses.
    """
    file = _open(uri)
    data = bytearray(size_bytes)
    # Of an S3 answer that is too short pyarrow says that all was read, and leaves the rest as it was. Random
    # bytes at the end show that; real ones that are equal by chance are read again.
    mark = os.urandom(min(16, size_bytes))
    data[-len(mark) :] = mark
    try:
        total = file.size()
        if offset + size_bytes > total:
            raise short_file(uri, offset + size_bytes, total)
        # Has a position of its own, so that threads share the file.
        found = file.get_stream(offset, size_bytes).readinto(data)
    except (OSError, pa.ArrowException) as error:
        _forget(uri)
        raise _explained(uri, error) from None
    if found != size_bytes or data.endswith(mark):
        _forget(uri)
        raise Transient("the answer is shorter than asked for")
    return bytes(data)


def read_all(uri: str, max_bytes: int) -> bytes:
    """Return a whole file; raises as `read_range` does, and `RunError` if it has more than `max_bytes`."""
    size_bytes = file_size(uri)
    if size_bytes > max_bytes:
        raise RunError(f"{public(uri)} has more than {max_bytes:,} bytes", "is it the right file?")
    return read_range(uri, 0, size_bytes) if size_bytes else b""


def file_size(uri: str) -> int:
    """Return the size of a file in bytes; raises as `read_range` does."""
    _forget(uri)  # it may have changed
    return int(_open(uri).size())


def list_files(uri: str, *, recursive: bool) -> list[str]:
    """Return the locations of the files below a folder; raises as `read_range` does."""
    base, query = split_query(uri)
    system, path = _resolved(uri)
    prefix = base.partition("://")[0] + "://"
    # What follows the scheme may hold more than the path: a user, or the account of a store.
    host = base.removeprefix(prefix).removesuffix(quote(path.rstrip("/")))
    try:
        found = system.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=recursive))
    except (OSError, pa.ArrowException) as error:
        raise _explained(uri, error) from None
    return [f"{prefix}{host}{quote(info.path)}{query}" for info in found if info.type == fs.FileType.File]


def _open(uri: str) -> pa.NativeFile:
    with _lock:
        if uri in _open_files:
            _open_files.move_to_end(uri)
            return _open_files[uri]
    system, path = _resolved(uri)
    try:
        file = system.open_input_file(path)
    except (OSError, pa.ArrowException) as error:
        raise _explained(uri, error) from None
    with _lock:
        _open_files[uri] = file
        while len(_open_files) > _MAX_OPEN:
            _open_files.popitem(last=False)
    return file


def _forget(uri: str) -> None:
    with _lock:
        _open_files.pop(uri, None)


def _resolved(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a URI, and the path within it."""
    scheme, _, rest = split_query(uri)[0].partition("://")
    options = tuple(parse_qsl(split_query(uri)[1].removeprefix("?")))
    user, _, path = rest.rpartition("@") if "@" in rest.partition("/")[0] else ("", "", rest)
    if ":" in path.partition("/")[0] and "@" in path:
        raise UserError(f"{public(uri)}: a secret key in a URI must be encoded", "write / as %2F, + as %2B")
    try:
        if scheme == "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            return _s3(path.partition("/")[0], user, options, endpoint), unquote(path)
        return _other(uri)
    except (OSError, pa.ArrowException) as error:
        raise _explained(uri, error) from None


@lru_cache(maxsize=64)
def _s3(
    bucket: str, user: str, options: tuple[tuple[str, str], ...], endpoint: str | None
) -> fs.S3FileSystem:
    values: dict[str, Any] = dict(options)
    unknown = [name for name in values if name not in _S3_OPTIONS]
    if unknown:
        problem = f"s3://{bucket} has an unknown option in its query: {unknown[0]}"
        raise UserError(problem, f"known are {', '.join(_S3_OPTIONS)}")
    endpoint = values.get("endpoint_override") or endpoint
    scheme, _, host = endpoint.rpartition("://") if endpoint else ("", "", "")
    region = values.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and not host:
        region = fs.resolve_s3_region(bucket)
    key, _, secret = user.partition(":")
    return fs.S3FileSystem(
        access_key=unquote(key) or None,
        secret_key=unquote(secret) or None,
        anonymous=values.get("anonymous") == "true",
        region=region,
        scheme=values.get("scheme") or scheme or None,
        endpoint_override=host.rstrip("/") or None,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=READ_TIMEOUT_S,
        # One loop tries again, and that is ours.
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )


def _other(uri: str) -> tuple[fs.FileSystem, str]:
    base, query = split_query(uri)
    if base.startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in query:
        # By default Google's client goes on by itself for many minutes.
        query = f"{query}&" if query else "?"
        query += f"retry_limit_seconds={READ_TIMEOUT_S:g}"
    scheme, _, rest = base.partition("://")
    bucket, slash, path = rest.partition("/")
    system, found = _from_uri(f"{scheme}://{bucket}{query}")
    return system, f"{found.rstrip('/')}{slash}{unquote(path)}"


@lru_cache(maxsize=64)
def _from_uri(uri: str) -> tuple[fs.FileSystem, str]:
    return fs.FileSystem.from_uri(uri)  # type: ignore[no-any-return]  # pyarrow has no types


def _explained(uri: str, error: Exception) -> Exception:
    """Tell what no repetition mends from what may pass."""
    where, text = public(uri), str(error)
    if isinstance(error, FileNotFoundError) or any(word in text for word in _MISSING):
        return NotFound(f"{where} does not exist", "check the address")
    if isinstance(error, PermissionError) or any(word in text for word in _REFUSALS):
        hint = "check the credentials; for a public bucket on S3, add ?anonymous=true"
        return UserError(f"{where} may not be read", hint)
    # A URI that pyarrow does not understand, or has no client for.
    if isinstance(error, pa.ArrowInvalid | pa.ArrowNotImplementedError):
        return UserError(f"{where} cannot be read: {_shortened(text)}", "is the address right?")
    return Transient(_shortened(text))


def _shortened(text: str) -> str:
    """Leave out what a message repeats: the key, its identifiers, the address, which may hold secrets."""
    text = text.partition(" Detail:")[0].rpartition(": AWS Error")[2].strip()
    return re.sub(r"\S*://\S*", "…", text) or "the store does not answer"
