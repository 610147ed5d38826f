"""What a job says on the terminal: progress lines, the closing block, readable errors.

console.say("epoch 1/10  loss 0.31")
console.block("done", {"bundle": "/data/run/bundle", "next": "python -m serving bundle=…"})
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping

from lib.errors import MantaError
from lib.runtime import prepare_process


def say(line: str = "") -> None:
    """Print one line to standard output at once, so that piped logs are live."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def block(title: str, rows: Mapping[str, object]) -> None:
    """Print the closing block of a job: a title and aligned `name  value` rows."""
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


def run_job(main: Callable[[], None]) -> None:
    """Run an entry point; turn a `MantaError` into one readable message and its exit code."""
    prepare_process()
    # Code of the user's own (package.module:function) is found in the folder where the job starts.
    sys.path.append(os.getcwd())
    # What a job has begun, such as a partial folder, is cleaned up on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except MantaError as error:
        problem, *hint = str(error).split("\n")
        sys.stderr.write("\n".join([f"error: {problem}", *(f"  {line}" for line in hint)]) + "\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
