"""Alerts about runs."""

from helm.monitoring.rule import RULED, Alert, Rule, grown

RUN = "namespace, run"
_WHO = "{{ $labels.run }}"


def training_alerts() -> list[Rule]:
    """Return the alerts, the most urgent first."""
    return [*_ends(), *_progress(), *_jobs()]


def _running(name: str = "train_running") -> str:
    return f"max by ({RUN}) ({RULED.gauge(name)}) == 1"


def _ends() -> list[Rule]:
    loss = f"last_over_time({RULED.gauge('train_loss')}[10m])"
    running = RULED.gauge("train_running")
    ended = grown(RULED.total("train_ends", 'outcome=~"failed|crashed|diverged"'), RUN, "30m")
    restarts = RULED.gauge("train_restarts")
    return [
        Alert(
            "MantaTrainingLossNotFinite",
            f"count by ({RUN}) (({loss} != {loss}) or abs({loss}) == Inf) > 0",
            "critical",
            f"The loss of run {_WHO} is no number any more.",
            "A run that meets this ends. Lower optim.lr, warm up longer, clip gradients, or look for "
            "broken labels.",
        ),
        Alert(
            "MantaTrainingFailed",
            f"({ended})\nunless on ({RUN}) {_running()}",
            "critical",
            f"Run {_WHO} has ended with an error.",
            "Its last lines say why. What it had done is in its state: go on with run.resume.",
            lasts="2m",
        ),
        Alert(
            "MantaTrainingVanished",
            f"max by ({RUN}) (last_over_time({running}[30m])) == 1\n"
            f"unless on ({RUN}) min by ({RUN}) (last_over_time({running}[30m])) == 0\n"
            f"unless on ({RUN}) max by ({RUN}) (last_over_time({running}[5m]))",
            "critical",
            f"Run {_WHO} was training and is gone, without an end.",
            "Its workers were killed or their node is lost, and nothing has started them again. Go on with "
            "run.resume.",
        ),
        Alert(
            "MantaTrainingRestarts",
            f"max by ({RUN}) ({restarts})\n- min by ({RUN}) (min_over_time({restarts}[30m])) >= 3",
            "warning",
            f"The workers of run {_WHO} have started {{{{ $value }}}} times within half an hour.",
            "Workers die or nodes come and go. Each start costs seconds and the steps since the last state.",
        ),
    ]


def _progress() -> list[Rule]:
    stepped = f"max by ({RUN}) ({RULED.gauge('train_last_step_timestamp_seconds')})"
    kept = f"max by ({RUN}) ({RULED.gauge('train_last_state_timestamp_seconds')})"
    waited, spent = (
        f"sum by ({RUN}) (rate({RULED.total(name)}[15m]))"
        for name in ("train_data_wait_seconds", "train_seconds")
    )
    return [
        Alert(
            "MantaTrainingStalled",
            f"(time() - {stepped} > 600)\nand on ({RUN}) {_running()}\n"
            f"unless on ({RUN}) {_running('train_measuring')}",
            "critical",
            f"Run {_WHO} has taken no step for {{{{ $value | humanizeDuration }}}}.",
            "Its workers are there and do nothing: storage that hangs, or a worker that waits for a lost "
            "one.",
            lasts="5m",
        ),
        Alert(
            "MantaStateTooOld",
            f"(time() - {kept} > 3600)\nand on ({RUN}) {_running()}",
            "warning",
            f"The last state of run {_WHO} is {{{{ $value | humanizeDuration }}}} old.",
            "That much work would be lost with a worker. Set train.checkpoint_every_s, and see whether "
            "run.storage "
            "takes files.",
            lasts="5m",
        ),
        Alert(
            "MantaDataWaitHigh",
            f"{waited}\n/ {spent} > 0.3\nand on ({RUN}) {_running()}",
            "warning",
            f"Run {_WHO} waits {{{{ $value | humanizePercentage }}}} of the time of its steps for data.",
            "Accelerators idle. More data.threads or cores, data nearer by, packing with resize=, or "
            "data.cache_gb.",
            lasts="15m",
        ),
    ]


def _jobs() -> list[Rule]:
    return [
        Alert(
            "MantaJobFailed",
            f"{RULED.left('job_success')} == 0",
            "warning",
            "The last {{ $labels.task }} job, about {{ $labels.subject }}, has failed.",
            "Its last lines say why. The alert ends with the next job of this kind that succeeds.",
        )
    ]
