"""Send many pictures, each once, from a process of its own, and print what came of it as JSON.

python benchmarks/crowd.py http://127.0.0.1:8000/predict FOLDER connections=16 images=2000

Every connection sends its next picture when it has its answer. Beside the requests per second and the
latency, the first label of every answer is printed, and how many members were asked if the server says so,
both in the order of the names of the files.
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

_TIMEOUT_S = 60.0


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    words = dict(word.split("=") for word in sys.argv[3:])
    files = islice(sorted(folder.iterdir()), int(words["images"]))
    print(json.dumps(send_all(url, [file.read_bytes() for file in files], int(words["connections"]))))


def send_all(url: str, pictures: Sequence[bytes], connections: int) -> dict[str, object]:
    """Return requests per second, percentiles of the latency in milliseconds, labels and members."""
    answers: list[bytes] = [b""] * len(pictures)
    latency_ms = np.zeros(len(pictures))
    problems: list[str] = []
    waiting, take = iter(range(len(pictures))), threading.Lock()
    parts = urlsplit(url)
    assert parts.hostname is not None
    host, port = parts.hostname, parts.port

    def send() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        while not problems:
            with take:
                number = next(waiting, None)
            if number is None:
                break
            begun = time.perf_counter()
            try:
                connection.request("POST", parts.path, pictures[number], {"Content-Type": "image/png"})
                response = connection.getresponse()
                answers[number] = response.read()
            except (OSError, http.client.HTTPException) as error:
                problems.append(f"picture {number}: {error!r}")
                break
            latency_ms[number] = 1e3 * (time.perf_counter() - begun)
            if response.status != 200:
                problems.append(f"picture {number}: {response.status} {answers[number][:200]!r}")
        connection.close()

    senders = [threading.Thread(target=send) for _ in range(connections)]
    started = time.perf_counter()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    took_s = time.perf_counter() - started
    if problems:
        raise SystemExit(problems[0])
    p50, p90, p99 = np.percentile(latency_ms, (50, 90, 99)).tolist()
    found = [json.loads(answer) for answer in answers]
    return {
        "rps": len(pictures) / took_s,
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "labels": [answer["predictions"][0]["label"] for answer in found],
        "members": [answer.get("members_used") for answer in found],
    }


if __name__ == "__main__":
    main()
