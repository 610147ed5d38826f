import subprocess
import sys
from pathlib import Path

from lib.train import ahead

ROOT = Path(__file__).parents[3]


def test_the_name_of_the_hook_is_that_of_the_installed_ray() -> None:
    from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

    (name, where) = next(iter(ahead.LOAD_AHEAD.items()))
    assert name == WORKER_PROCESS_SETUP_HOOK_ENV_VAR
    module, _, function = where.rpartition(".")
    assert (module, function) == (ahead.__name__, ahead.load_ahead.__name__)


def test_the_file_itself_loads_nothing_heavy() -> None:
    code = "import sys, lib.train.ahead; print({'torch', 'ray', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
