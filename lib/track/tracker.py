"""Send the figures of a run to where people compare runs, beside the training and never in its way.

    tracker = Tracker(sinks, folder / "track.json", say)
    tracker.update(history)             # returns at once: all epochs so far, of which new ones are sent
    tracker.close(final_metrics)        # waits a little for what is on its way

Each sink has a thread of its own. One that fails or hangs is one warning line; its epochs stay in line
and are sent with those of the next epoch. `track.json` keeps the name of the run at each sink and how much of
it has arrived, so that a run that starts again goes on with the same curves.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lib.errors import RunError
from lib.files import write_text

# When a sink that has not answered is called slow, and how long the end of a run waits for it.
_SLOW_S = 30.0
_LAST_WAIT_S = 10.0
_FAILED_WAIT_S = 2.0


class Sink(Protocol):
    """One place that figures go to; every method may raise or hang."""

    name: str

    def open(self, run_id: str | None) -> str:
        """Begin a run, or go on with the one that an earlier `open` named; return its name."""
        ...

    def send(self, step: int, figures: Mapping[str, float]) -> None:
        """Send the figures of one step."""
        ...

    def close(self, *, is_finished: bool) -> None:
        """End the run, as finished or as failed."""
        ...


class Tracker:
    """The sinks of a run; without any, it does nothing."""

    def __init__(self, sinks: Sequence[Sink], memory: Path, say: Callable[[str], None]) -> None:
        kept = _read(memory)
        lock = threading.Lock()

        def keep(name: str, value: dict[str, Any]) -> None:
            with lock:
                kept[name] = value
                write_text(memory, json.dumps(kept) + "\n")

        self._lines = [_Line(sink, kept.get(sink.name, {}), keep, say) for sink in sinks]

    def update(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Take all epochs so far, as `metrics.jsonl` has them."""
        records = [(int(epoch["step"]), figures(epoch)) for epoch in history]
        for line in self._lines:
            line.update(records)

    def close(self, final: Mapping[str, Mapping[str, float]] | None) -> None:
        """End the run: with the metrics of its best model, or as failed; wait for at most ten seconds."""
        for line in self._lines:
            line.end(None if final is None else figures({"final": final}))
        until = time.monotonic() + (_FAILED_WAIT_S if final is None else _LAST_WAIT_S)
        for line in self._lines:
            line.join(until)


class _Line:
    """The thread of a sink, and what waits for it."""

    def __init__(
        self,
        sink: Sink,
        kept: Mapping[str, Any],
        keep: Callable[[str, dict[str, Any]], None],
        say: Callable[[str], None],
    ) -> None:
        self._sink, self._keep, self._say = sink, keep, say
        self._run_id: str | None = kept.get("run")
        self._sent = int(kept.get("sent", 0))
        self._is_open = self._is_over = self._has_warned = False
        self._records: list[tuple[int, dict[str, float]]] = []
        self._final: dict[str, float] | None = None
        self._busy_since: float | None = None
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"track-{sink.name}", daemon=True)
        self._thread.start()

    def update(self, records: list[tuple[int, dict[str, float]]]) -> None:
        self._records = records
        self._changed.set()
        since = self._busy_since
        if since is not None and time.monotonic() - since > _SLOW_S:
            self._warn("does not answer")

    def end(self, final: dict[str, float] | None) -> None:
        self._final, self._is_over = final, True
        self._changed.set()

    def join(self, until: float) -> None:
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._warn("does not answer")

    def _work(self) -> None:
        is_last = False
        while not is_last:
            self._changed.wait()
            self._changed.clear()
            is_last = self._is_over
            self._busy_since = time.monotonic()
            try:
                self._send(is_last=is_last)
            except Exception as error:  # whatever a library raises: training goes on
                self._warn(_reason(error))
            self._busy_since = None

    def _send(self, *, is_last: bool) -> None:
        if not self._is_open:
            self._run_id = self._sink.open(self._run_id)
            self._is_open = True
            self._remember()
        for step, values in self._records[self._sent :]:
            self._sink.send(step, values)
            self._sent += 1
            self._remember()
        if is_last:
            if self._final is not None and self._records:
                self._sink.send(self._records[-1][0], self._final)
            self._sink.close(is_finished=self._final is not None)

    def _remember(self) -> None:
        self._keep(self._sink.name, {"run": self._run_id, "sent": self._sent})

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._say(
                f"warning: track.{self._sink.name}: {reason}; training goes on, metrics.jsonl has all figures"
            )


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Flatten the numbers of a record: {"val": {"loss": 1}} becomes {"val/loss": 1}; its step is left out."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": number for inner, number in figures(value).items()}
        elif isinstance(value, int | float) and name != "step":
            found[name] = float(value)
    return found


def _reason(error: Exception) -> str:
    text = error.problem if isinstance(error, RunError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _read(memory: Path) -> dict[str, Any]:
    """Read what an earlier start kept; what cannot be read begins anew."""
    try:
        kept = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
