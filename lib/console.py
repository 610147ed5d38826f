"""What a job says: progress lines, the closing block, readable errors; with MANTA_LOG=json, in JSON.

console.identify(run="photos")      # what lines of JSON carry from now on
console.say("epoch 1/10  loss 0.31")
console.block("done", {"bundle": "/data/run/bundle", "next": "python -m serving bundle=…"})

{"time": "2026-11-28T12:00:00.000+00:00", "level": "info", "message": "epoch 1/10  loss …", "run": "photos"}
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lib.errors import MantaError, UserError
from lib.runtime import prepare_process

_LOG = "MANTA_LOG"
_FORMATS = ("text", "json")
# What each line of this process is about: run, trial.
_ids: dict[str, str] = {}


def identify(**ids: str | None) -> None:
    """Name what the lines of this process are about from now on; None takes a name back."""
    for name, value in ids.items():
        _ids.pop(name, None)
        if value is not None:
            _ids[name] = value


def is_json() -> bool:
    """Tell whether lines are for machines."""
    return os.environ.get(_LOG) == "json"


def line_of(message: str, level: str = "info", **fields: Any) -> str:
    """Return a line of the log, in the format that was asked for; `fields` are for machines only."""
    if not is_json():
        return message
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = {"time": now, "level": level, "message": message.strip(), **_ids, **fields}
    return json.dumps(record, ensure_ascii=False, default=str)


def show(text: str) -> None:
    """Print what somebody asked to see, such as a schema, as it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say(line: str = "", **fields: Any) -> None:
    """Print one line to standard output at once, so that piped logs are live; `fields` as in `line_of`."""
    if line or not is_json():
        level = "warning" if line.startswith("warning: ") else "info"
        show(line_of(line, level, **fields))


def block(title: str, rows: Mapping[str, object]) -> None:
    """Print the closing block of a job: a title and aligned `name  value` rows."""
    if is_json():
        show(line_of(title, result=rows))
        return
    width = max((len(name) for name in rows), default=0)
    say()
    say(title)
    for name, value in rows.items():
        say(f"  {name:<{width}}  {value}")


def amount(size_bytes: int) -> str:
    """Return a number of bytes for a person: 1,234 MB, 1.2 MB, 12 kB."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.0f} kB"
    return f"{size_bytes / 1e6:,.{1 if size_bytes < 10_000_000 else 0}f} MB"


def duration(seconds: float) -> str:
    """Write a time as people say it: 8s, 2m10s, 3h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def run_job(main: Callable[[], None]) -> None:
    """Run an entry point; turn a `MantaError` into one readable message and its exit code."""
    prepare_process()
    _ids.clear()
    # Code of the user's own (package.module:function) is found in the folder where the job starts.
    sys.path.append(os.getcwd())
    # What a job has begun, such as a partial folder, is cleaned up on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _check_format()
        main()
    except MantaError as error:
        problem, *hint = str(error).split("\n")
        people = "\n".join([f"error: {problem}", *(f"  {line}" for line in hint)])
        told = line_of(problem, "error", hint="\n".join(hint), exit_code=error.exit_code)
        sys.stderr.write(f"{told if is_json() else people}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write(f"{line_of('stopped')}\n")
        sys.exit(130)


def _check_format() -> None:
    given = os.environ.get(_LOG, _FORMATS[0])
    if given not in _FORMATS:
        raise UserError(f"{_LOG}={given}: there is no such format", f"give {' or '.join(_FORMATS)}")
