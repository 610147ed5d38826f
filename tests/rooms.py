"""A disk that is full for a while: writing past a size fails, in this process, as the system fails it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_room(beyond_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size; writing more raises OSError, "File too large"."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (beyond_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
