"""What a worker needs, loaded as soon as its process runs, in one go.

    runtime_env = {"env_vars": ENVIRONMENT | LOAD_AHEAD}

Most of the time in which a run goes on after a lost worker is imports. Left to Ray, they come in pieces, each
of which searches the whole heap for cycles. This file itself must load nothing.
"""

from lib.runtime import keep_heap, uncollected

# How Ray passes a job's `worker_process_setup_hook` to its processes; an actor's own it does not pass. A Ray
# that does not know the name starts workers as before.
LOAD_AHEAD = {"__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "lib.train.ahead.load_ahead"}


def load_ahead() -> None:
    """Load what `lib.train.group` runs in a worker."""
    keep_heap()
    with uncollected():
        import ray.train.torch  # noqa: F401

        import lib.train.launch  # noqa: F401
