"""Send the same request again and again from a process of its own, and print what came of it as JSON.

python benchmarks/load.py http://127.0.0.1:8000/predict photo.jpg connections=16 seconds=10
python benchmarks/load.py http://127.0.0.1:8000/predict photo.jpg connections=64 seconds=10 rate=25

Without a rate every connection sends its next request when it has its answer: that saturates a server. With
one, requests are sent at random moments, drawn with a seed, so many a second on average, whatever the server
does, or with arrivals=even at equal distances; their time counts from the moment when they should have been
sent.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

_TIMEOUT_S = 60.0
# What comes in the first part of the time warms up connections and caches.
_WARM_UP = 0.2

Send = Callable[..., None]


@dataclass
class Seen:
    """When each request that was answered began and ended, and how many were answered with which status."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    times: list[tuple[float, float]] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)


def main() -> None:
    url, body = sys.argv[1], Path(sys.argv[2]).read_bytes()
    words = dict(word.split("=") for word in sys.argv[3:])
    seconds, rate = float(words["seconds"]), float(words.get("rate", 0))
    send = partial(_send, url, body, words.get("type", "image/jpeg"))
    # At equal distances without a seed.
    seed = None if words.get("arrivals") == "even" else int(words.get("seed", 0))
    print(json.dumps(run(send, int(words["connections"]), seconds, rate, seed)), flush=True)


def run(send: Send, connections: int, seconds: float, rate: float, seed: int | None) -> dict[str, object]:
    """Return requests per second, the latency of each in milliseconds, and the errors."""
    seen, start = Seen(), time.perf_counter() + 0.1
    moments = _moments(start, seconds, rate, seed)
    arguments = (moments, threading.Lock(), start + seconds, seen)
    senders = [threading.Thread(target=send, args=arguments) for _ in range(connections)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    begun = start + _WARM_UP * seconds
    latency_ms = [1e3 * (last - first) for first, last in seen.times if first >= begun]
    ended = sum(begun <= last <= start + seconds for _, last in seen.times)
    return {
        "rps": ended / (seconds * (1 - _WARM_UP)),
        "latency_ms": [round(each, 3) for each in latency_ms],
        "errors": sum(count for code, count in seen.codes.items() if code != 200),
    }


def _moments(start: float, seconds: float, rate: float, seed: int | None) -> Iterator[float | None]:
    """Yield when the next request is due; None: at once."""
    if not rate:
        while True:
            yield None
    count = int(2 * rate * seconds) + 100
    gaps = np.full(count, 1 / rate)
    if seed is not None:
        gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    yield from (start + moment for moment in gaps.cumsum() if moment < seconds)


def _send(
    url: str,
    body: bytes,
    kind: str,
    moments: Iterator[float | None],
    take: threading.Lock,
    end: float,
    seen: Seen,
) -> None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
    while time.perf_counter() < end:
        with take:
            due = next(moments, end)
        if due is not None:
            if due >= end:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
        first = time.perf_counter() if due is None else due
        try:
            connection.request("POST", parts.path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            answer.read()
            code = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            code = 0
        with seen.lock:
            seen.codes[code] += 1
            if code == 200:
                seen.times.append((first, time.perf_counter()))
    connection.close()


if __name__ == "__main__":
    main()
