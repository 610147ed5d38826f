"""A line of JSON per request, written by a thread of its own: no request waits for a disk.

log = AccessLog(Path("/var/log/manta"))
log.write(method="POST", path="/predict", status=200)
log.close()
"""

import json
import logging
import os
import queue
import socket
from datetime import UTC, datetime
from logging.handlers import QueueListener, RotatingFileHandler
from pathlib import Path

from lib.errors import RunError

# A file is put aside at this size, and the oldest of five is removed.
_FILE_BYTES = 50_000_000
_FILES = 5
# Lines that may wait for the disk; beyond them lines are lost, and counted.
_WAITING = 10_000


class AccessLog:
    """A file in a folder, of this process alone.

    Raises `RunError` if it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"access-{socket.gethostname()}-{os.getpid()}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handler = RotatingFileHandler(
                self.path, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8"
            )
        except OSError as error:
            hint = "give a folder that this user may write to, on every node"
            raise RunError(f"log.access_dir={folder}: {error.strerror}", hint) from None
        handler.setFormatter(_Lines())
        self._queue: queue.Queue[logging.LogRecord] = queue.Queue(_WAITING)
        self._listener = QueueListener(self._queue, handler)
        self._handler = handler
        self._lost = 0
        self._listener.start()

    def write(self, **fields: object) -> None:
        """Add a line; returns at once."""
        if self._lost:
            fields["lines_lost_before"] = self._lost
        record = logging.LogRecord("manta.access", logging.INFO, "", 0, "", None, None)
        record.fields = fields
        try:
            self._queue.put_nowait(record)
            self._lost = 0
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._listener.stop()
        self._handler.close()


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = getattr(record, "fields", {})
        return json.dumps({"time": time, **fields}, ensure_ascii=False)
