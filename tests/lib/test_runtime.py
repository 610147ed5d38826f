import ctypes
import gc
import os
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest

from lib.runtime import ENVIRONMENT, THREAD_ENVIRONMENT, loading, uncollected

# What is left of 200 MB that a thread has used, in megabytes.
LEFT_MB = """if True:
    from threading import Thread
    from lib.runtime import keep_heap
    def resident():
        return int(open("/proc/self/statm").read().split()[1]) * 4096
    def work():
        global left
        keep_heap()
        before = resident()
        large = bytearray(b"x") * 200_000_000  # written, so that it counts
        large = None
        left = (resident() - before) // 10**6
    thread = Thread(target=work)
    thread.start()
    thread.join()
    print(left)
"""


def test_what_is_loaded_is_left_out_of_the_search_for_cycles() -> None:
    before = gc.get_freeze_count()
    try:
        with uncollected():
            assert not gc.isenabled()
            kept = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_a_thread_keeps_its_heap_with_one_arena_only() -> None:
    def left_mb(environment: dict[str, str]) -> int:
        given = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        command = [sys.executable, "-c", LEFT_MB]
        run = subprocess.run(command, env=given | environment, capture_output=True, text=True, check=True)
        return int(run.stdout)

    assert left_mb(THREAD_ENVIRONMENT) > 150
    assert left_mb(ENVIRONMENT) < 50


def test_modules_are_loaded_meanwhile() -> None:
    sys.modules.pop("this", None)
    with redirect_stdout(StringIO()), loading("no_such_module_of_ours", "this"):
        pass
    assert "this" in sys.modules
    assert gc.isenabled()
