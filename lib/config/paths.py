"""Where a relative path of the configuration points.

On a laptop: the current folder. Inside a Ray job that was submitted with `--working-dir`, the current
folder is a copy that Ray deletes; there, outputs (and inputs that the copy does not have) live under
`$MANTA_HOME`, by default `~/manta`.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from lib.errors import UserError

# Ray unpacks an uploaded working directory below a folder of this name.
_UPLOADED = "working_dir_files"


# Two letters at least: a drive of Windows is no scheme.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_uri(text: str) -> bool:
    """Tell whether a location is a URI, such as s3://bucket/folder, and not a path."""
    return _URI.match(text) is not None


def data_location(text: str, key: str = "data.root") -> str:
    """Where a dataset or its shards are read from: a URI as it is, else a path as `input_path` finds it.

    Raises `UserError` for a password in a URI, and for a query of an http(s) one: both would be written to
    the files of a run.
    """
    if not is_uri(text) or text.startswith("file://"):
        return str(input_path(unquote(text.removeprefix("file://"))))
    scheme, _, rest = text.partition("://")
    is_http = scheme in ("http", "https")
    # A secret key of S3 may hold slashes.
    user = rest.partition("/" if is_http else "?")[0].rpartition("@")[0]
    if ":" in user:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for http, add a line to ~/.netrc"
        raise UserError(f"{key}={scheme}://… holds a password, which would be kept with the run", hint)
    if is_http and "?" in rest:
        where = text.partition("?")[0]
        raise UserError(f"{key}={where}?… has a query, which would be kept with the run", f"{key}={where}")
    return text.rstrip("/")


def output_path(text: str) -> Path:
    """Absolute path of something a job writes; raises `UserError` for a URI."""
    _refuse_uri(text)
    path = Path(text).expanduser()
    return path if path.is_absolute() else _home() / path


def input_path(text: str) -> Path:
    """Absolute path of something a job reads: the current folder first, then the home of outputs.

    Raises `UserError` for a URI.
    """
    _refuse_uri(text)
    path = Path(text).expanduser().absolute()
    return path if path.exists() else output_path(text)


def _refuse_uri(text: str) -> None:
    if is_uri(text):
        scheme = text.partition("://")[0]
        hint = "use a local or mounted folder, and copy with your own tool, e.g. aws s3 cp --recursive"
        raise UserError(f"{scheme}:// cannot be used here; only datasets are read from a URI", hint)


def _home() -> Path:
    home = os.environ.get("MANTA_HOME")
    if home:
        return Path(home).expanduser().absolute()
    here = Path.cwd()
    return Path.home() / "manta" if _UPLOADED in here.parts else here
