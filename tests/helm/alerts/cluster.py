"""Machines, and what cannot be read of them."""

from tests.helm.alerts.case import NODE, Case

_UP = f'up{{{NODE},pod="digits-head"}}'
_FREE, _USED = (f"ray_node_disk_{what}{{{NODE}}}" for what in ("free", "usage"))
_TAKEN, _TOTAL = (f"ray_node_mem_{what}{{{NODE}}}" for what in ("used", "total"))

TARGETS = [
    Case(
        "MantaMetricsMissing", "a pod does not answer", {_UP: "1x2 0x10"}, "9m", f'{NODE},pod="digits-head"'
    ),
    Case("MantaMetricsMissing", "for a moment", {_UP: "1x2 0x3 1x10"}, "9m"),
]
CASES = [
    Case("MantaDiskFull", "3 % left", {_FREE: "3x10", _USED: "97x10"}, "8m", NODE),
    Case("MantaDiskFull", "10 % left", {_FREE: "10x10", _USED: "90x10"}, "8m"),
    Case(
        "MantaDiskFilling",
        "a tenth left, 1 % goes in an hour",
        {_FREE: "2000-10x84", _USED: "8000+10x84"},
        "415m",
        NODE,
        "5m",
    ),
    Case(
        "MantaDiskFilling",
        "half is free, however fast",
        {_FREE: "9000-40x84", _USED: "1000+40x84"},
        "415m",
        step="5m",
    ),
    Case(
        "MantaDiskFilling",
        "15 % left, and nothing comes",
        {_FREE: "1500x84", _USED: "8500x84"},
        "415m",
        step="5m",
    ),
    Case("MantaMemoryHigh", "97 %", {_TAKEN: "97x10", _TOTAL: "100x10"}, "8m", NODE),
    Case("MantaMemoryHigh", "90 %", {_TAKEN: "90x10", _TOTAL: "100x10"}, "8m"),
]
