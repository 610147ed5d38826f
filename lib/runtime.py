"""How a process that computes on a CPU should be set up; must happen before torch is loaded.

    prepare_process()       # in an entry point
    ENVIRONMENT             # the same for processes that somebody else starts (Ray workers)
    THREAD_ENVIRONMENT      # and for those that compute in another thread than their first (Ray Train)
    with uncollected():     # a fifth less time for imports of torch and what comes with it
        import torch
    with loading("torch"):  # beside what waits for others
        connect()

Measured on two cores: with glibc's defaults a training step takes up to twice as long, because activations
are given back to the kernel and faulted in again; and OpenMP threads that spin while they wait take the
core from decoding threads and neighbours, which can cost a factor of five. Large tensors in huge pages save
a quarter of the time of what only moves memory.
"""

import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "THP_MEM_ALLOC_ENABLE": "1"}
# A thread has an arena of its own, of heaps of at most 64 MB that go back to the kernel whatever it was
# told, and larger tensors are mapped anew in every step: 5,500 page faults of ResNet-18 in huge pages, half
# a second of the kernel's time. With one arena there are none.
THREAD_ENVIRONMENT = ENVIRONMENT | {"MALLOC_ARENA_MAX": "1"}

# Parameters of glibc's mallopt(3), and a size that no heap of ours reaches.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER_BYTES = 2**31 - 1


def prepare_process() -> None:
    """Set the environment of this process, and tell the allocator to keep what it has."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    keep_heap()


@contextmanager
def uncollected() -> Iterator[None]:
    """Load modules without Python's search for cycles, and leave what they bring out of it for good."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


@contextmanager
def loading(*modules: str) -> Iterator[None]:
    """Load modules in a thread meanwhile; if one cannot be, whoever imports it afterwards is told why."""

    def load() -> None:
        with uncollected():
            for module in modules:
                with suppress(Exception):
                    import_module(module)

    thread = threading.Thread(target=load, name="loading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def keep_heap() -> None:
    """Tell glibc's allocator not to give memory back between steps; does nothing with another libc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, -1)  # never
        mallopt(_M_MMAP_THRESHOLD, _NEVER_BYTES)
