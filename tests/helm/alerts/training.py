"""Runs: how they end, and how they get on; the clock begins at 0."""

from tests.helm.alerts.case import RUN, Case

_MEASURING = f"ray_manta_train_measuring{{{RUN}}}"
_STEPPED, _KEPT = (f"ray_manta_train_last_{what}_timestamp_seconds{{{RUN}}}" for what in ("step", "state"))
_WAITED, _SPENT = (f"ray_manta_train_{what}_total{{{RUN}}}" for what in ("data_wait_seconds", "seconds"))
_A, _B = (f'ray_manta_train_running{{{RUN},WorkerId="{worker}"}}' for worker in "ab")
_LOSS = f'ray_manta_train_loss{{{RUN},split="train"}}'


def _restarts(worker: str) -> str:
    return f'ray_manta_train_restarts{{{RUN},WorkerId="{worker}"}}'


def _ends(outcome: str) -> str:
    return f'ray_manta_train_ends_total{{{RUN},outcome="{outcome}"}}'


CASES = [
    Case(
        "MantaTrainingLossNotFinite",
        "no number, and the worker is gone",
        {_LOSS: "2x5 NaN stale"},
        "9m",
        RUN,
    ),
    Case("MantaTrainingLossNotFinite", "infinite", {_LOSS: "2x5 Inf stale"}, "9m", RUN),
    Case("MantaTrainingLossNotFinite", "large", {_LOSS: "2x5 1e30x5"}, "9m"),
    Case("MantaTrainingFailed", "an error", {_A: "1x5 0 stale", _ends("failed"): "_x6 1x30"}, "10m", RUN),
    Case(
        "MantaTrainingFailed",
        "it was started again",
        {_A: "1x5 0 stale", _B: "_x8 1x30", _ends("crashed"): "_x6 1x30"},
        "12m",
    ),
    Case("MantaTrainingFailed", "a good end", {_A: "1x5 0 stale", _ends("finished"): "_x6 1x30"}, "10m"),
    Case("MantaTrainingFailed", "long ago", {_A: "1x5 0 stale", _ends("failed"): "_x6 1x90"}, "60m"),
    Case("MantaTrainingVanished", "a lost node", {_A: "1x10 stale"}, "18m", RUN),
    Case("MantaTrainingVanished", "a good end", {_A: "1x10 0 stale"}, "18m"),
    Case("MantaTrainingVanished", "workers elsewhere go on", {_A: "1x10 stale", _B: "_x11 1x10"}, "18m"),
    Case(
        "MantaTrainingRestarts",
        "three in ten minutes",
        {
            _restarts("a"): "0x5 stale",
            _restarts("b"): "_x6 2x5 stale",
            _restarts("c"): "_x12 3x10",
        },
        "18m",
        RUN,
    ),
    Case("MantaTrainingRestarts", "it has had many, long ago", {_restarts("a"): "7x20"}, "18m"),
    Case(
        "MantaTrainingStalled", "no step since minute 5", {_A: "1x40", _STEPPED: "0+60x5 300x40"}, "25m", RUN
    ),
    Case("MantaTrainingStalled", "it steps", {_A: "1x40", _STEPPED: "0+60x40"}, "25m"),
    Case(
        "MantaTrainingStalled",
        "it measures",
        {_A: "1x40", _MEASURING: "1x40", _STEPPED: "0+60x5 300x40"},
        "25m",
    ),
    Case("MantaTrainingStalled", "it has ended", {_A: "1x5 0x40", _STEPPED: "0+60x5 300x40"}, "25m"),
    Case("MantaStateTooOld", "70 minutes", {_A: "1x90", _KEPT: "0x90"}, "72m", RUN),
    Case("MantaStateTooOld", "every half hour", {_A: "1x90", _KEPT: "0x30 1800x30 3600x30"}, "72m"),
    Case(
        "MantaDataWaitHigh",
        "half of the time",
        {_A: "1x40", _WAITED: "0+30x40", _SPENT: "0+60x40"},
        "35m",
        RUN,
    ),
    Case("MantaDataWaitHigh", "a tenth", {_A: "1x40", _WAITED: "0+6x40", _SPENT: "0+60x40"}, "35m"),
    Case(
        "MantaJobFailed",
        "a job failed",
        {'manta_job_success{task="pack",subject="photos"}': "0x5"},
        "3m",
        'task="pack",subject="photos"',
    ),
    Case(
        "MantaJobFailed",
        "it did what it was asked",
        {'manta_job_success{task="pack",subject="photos"}': "1x5"},
        "3m",
    ),
]
