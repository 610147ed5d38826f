"""Where a file lies, as text: an absolute local path, or a URI whose path is percent-encoded.

join("s3://bucket/set?region=eu-west-1", "train/0.tar")     # "s3://bucket/set/train/0.tar?region=eu-west-1"
public("https://me:secret@host/x?token=abc")                # "https://host/x", fit for a message
"""

import os
import re
from urllib.parse import quote, unquote, urlsplit

from lib.config.paths import is_uri

_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


def is_local(location: str) -> bool:
    """Tell whether a location is a file of this machine."""
    return not is_uri(location) or location.startswith("file://")


def local_path(location: str) -> str:
    """Return the path of a local location."""
    return unquote(urlsplit(location).path) if is_uri(location) else location


def join(root: str, path: str) -> str:
    """Return the location of `path` below `root`; absolute paths and URIs stay as they are."""
    if is_uri(path) or path.startswith("/"):
        return path
    if not is_uri(root):
        return os.path.join(root, path)
    base, query = split_query(root)
    return f"{base.rstrip('/')}/{quote(path)}{query}"


def split_query(uri: str) -> tuple[str, str]:
    """Split a URI before the `?` of its query."""
    base, mark, query = uri.partition("?")
    return base, mark + query


def public(location: str) -> str:
    """Return a location without what may be secret: user, password, query."""
    if not is_uri(location):
        return location
    scheme, _, rest = split_query(location)[0].partition("://")
    host, slash, path = rest.partition("/")
    if ":" in host and "@" in path and not scheme.startswith("http"):
        # A secret key with a slash that should have been %2F.
        host, slash, path = path.rpartition("@")[2].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def expand(pattern: str) -> list[str]:
    """Write out braces: `{000..012}` counts, with leading zeros, and `{a,b}` lists."""
    found = _BRACES.search(pattern)
    if not found:
        return [pattern]
    first, last, words = found.groups()
    if words is None:
        choices = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    else:
        choices = words.split(",")
    start, end = pattern[: found.start()], pattern[found.end() :]
    return [text for choice in choices for text in expand(start + choice + end)]
