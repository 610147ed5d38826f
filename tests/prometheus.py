"""The programs of Prometheus that tests call: Debian's package, or whatever is on PATH."""

import shutil

import pytest

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None,
    reason="no prometheus and promtool on PATH: apt-get install prometheus",
)
