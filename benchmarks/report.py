"""What all benchmarks share: their words, tables, a description of the hardware, and the last line of JSON.

settings = read_settings(Settings, "scale", "Measure how the cost grows.")    # a lib.config Section
print_table("loading", ["shards", "images/s"], [[10, 840.2], [1000, 838.9]])
finish("scale", ratios={"flat": 0.99}, absolute={"images_per_s": 840.2})
"""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from lib.config.load import load
from lib.errors import UserError

T = TypeVar("T", bound=BaseModel)

_LIBRARIES = ("torch", "torchvision", "numpy", "pillow")


def read_settings(model: type[T], name: str, description: str) -> T:
    """Return what the command line says, as `key=value` words; SystemExit after `--help`.

    Raises `UserError` with every mistake, and for `--dry-run`: a benchmark has no plan to show.
    """
    loaded = load(model, sys.argv[1:], prog=f"python benchmarks/{name}.py", description=description)
    if loaded.dry_run:
        raise UserError("--dry-run: a benchmark has no plan to show", "leave it out")
    return loaded.config


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their columns; units stand in the names of the columns. Text is set left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    is_text = [isinstance(value, str) for value in rows[0]]
    print(f"\n{title}")
    for row in [list(columns), *cells]:
        parts = [
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, is_text, strict=True)
        ]
        print("  " + "  ".join(parts).rstrip(), flush=True)


def hardware() -> dict[str, object]:
    """Describe the machine, as far as a measurement depends on it."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": _gpu(),
        "python": platform.python_version(),
        **{name: found for name in _LIBRARIES if (found := _version(name))},
    }


def finish(name: str, *, ratios: Mapping[str, object], absolute: Mapping[str, object]) -> None:
    """Print the hardware, then the result as one line of JSON, which is the last."""
    machine = hardware()
    print("\nhardware  " + ", ".join(f"{key} {value}" for key, value in machine.items()))
    result = {"benchmark": name, "ratios": ratios, "absolute": absolute, "hardware": machine}
    print(json.dumps(result), flush=True)


def _cell(value: object) -> str:
    if isinstance(value, float):
        # Four digits say all that a measurement knows.
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> str:
    torch = sys.modules.get("torch")  # a benchmark that uses one has imported it
    if torch is None or not torch.cuda.is_available():
        return "none"
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
