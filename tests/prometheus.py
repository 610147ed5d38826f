"""The programs of Prometheus that tests call (Debian's package, or whatever is on PATH), and its HTTP API."""

import json
import shutil
import urllib.parse
import urllib.request
from typing import Any

import pytest

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None,
    reason="no prometheus and promtool on PATH: apt-get install prometheus",
)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url: str, path: str, **parameters: object) -> Any:
    """Ask a Prometheus at an address; return the `data` of its answer, or fail with what it says."""
    full = f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with _DIRECT.open(full, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{parameters}: {error.read().decode()}") from None


def value(url: str, query: str) -> float:
    """The one value that a query has now; 0 if it has none."""
    found = ask(url, "query", query=query)["result"]
    assert len(found) <= 1, found
    return float(found[0]["value"][1]) if found else 0.0
