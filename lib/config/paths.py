"""Where a relative path of the configuration points.

On a laptop: the current folder. Inside a Ray job that was submitted with `--working-dir`, the current
folder is a copy that Ray deletes; there, outputs (and inputs that the copy does not have) live under
`$MANTA_HOME`, by default `~/manta`.
"""

import os
from pathlib import Path

from lib.errors import UserError

# Ray unpacks an uploaded working directory below a folder of this name.
_UPLOADED = "working_dir_files"


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
    scheme, separator, _ = text.partition("://")
    if separator:
        hint = "mount it as a folder, or copy it first"
        raise UserError(f"{text}: {scheme}:// is not supported yet", hint)


def _home() -> Path:
    home = os.environ.get("MANTA_HOME")
    if home:
        return Path(home).expanduser().absolute()
    here = Path.cwd()
    return Path.home() / "manta" if _UPLOADED in here.parts else here
