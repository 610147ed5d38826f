"""The dashboard of runs: do they learn, how fast, and is what they have learnt safe."""

from helm.monitoring.panel import RATE, SHOWN, Board, Panel, Query, Row, Variable

_RUN = 'run=~"$run"'
_BY = "by (namespace, run)"


def training_board() -> Board:
    """Return the dashboard."""
    return Board(
        "manta-training",
        "Manta / Training",
        "Runs of jobs/finetune.py and trials of jobs/tune.py.",
        SHOWN.gauge("train_epochs"),
        (Variable("run", "run", SHOWN.gauge("train_epochs")),),
        (_now(), _learning(), _speed(), _safety()),
    )


def _gauge(name: str, *matchers: str) -> str:
    """Ask for a gauge of the run, whichever worker wrote it last."""
    return f"max {_BY} ({SHOWN.gauge(name, _RUN, *matchers)})"


def _rate(name: str) -> str:
    return f"sum {_BY} (rate({SHOWN.total(name, _RUN)}[{RATE}]))"


def _now() -> Row:
    done = f"{_gauge('train_epoch')} / {_gauge('train_epochs')}"
    return Row(
        "Now",
        (
            _stat(
                "Running", "Which runs train (1) and which have ended (0).", "none", _gauge("train_running")
            ),
            _stat("Done", "Share of the epochs that are done.", "percentunit", done),
            _stat(
                "Time left", "Time until the run ends, by its pace.", "s", _gauge("train_time_left_seconds")
            ),
            _stat("Workers", "Workers of the run.", "none", _gauge("train_workers")),
            _stat("Restarts", "Starts of the workers after the first.", "none", _gauge("train_restarts")),
            _stat("Bad samples", "Samples in quarantine.jsonl.", "none", _gauge("train_bad_samples")),
        ),
    )


def _stat(title: str, description: str, unit: str, expr: str) -> Panel:
    return Panel(title, description, unit, (Query(expr, "{{run}}"),), kind="stat")


def _learning() -> Row:
    by_split = "max by (namespace, run, split)"
    loss = f"{by_split} ({SHOWN.gauge('train_loss', _RUN)})"
    accuracy = f"{by_split} ({SHOWN.gauge('train_accuracy', _RUN)})"
    legend = "{{run}} {{split}}"
    return Row(
        "Learning",
        (
            Panel(
                "Loss",
                "Is it falling? train: of the last steps; val: of the last epoch. If val rises while train "
                "falls, the "
                "run learns its images by heart.",
                "none",
                (Query(loss, legend),),
            ),
            Panel("Accuracy", "Of the last epoch, on each split.", "percentunit", (Query(accuracy, legend),)),
            Panel(
                "Learning rate",
                "Learning rate of the head: is the schedule what was meant?",
                "sci",
                (Query(_gauge("train_learning_rate"), "{{run}}"),),
            ),
            Panel(
                "Gradient norm",
                "Norm before clipping. Jumps foretell a loss that is no number.",
                "none",
                (Query(_gauge("train_gradient_norm"), "{{run}}"),),
            ),
            Panel(
                "Epochs",
                "Epochs done, with the share of the present one.",
                "none",
                (Query(_gauge("train_epoch"), "{{run}}"),),
            ),
        ),
    )


def _speed() -> Row:
    steps = SHOWN.buckets("train_step_seconds", _RUN)
    step = f"sum by (namespace, run, le) (rate({steps}[{RATE}]))"
    gpus = f"avg by (namespace, ray_io_cluster, instance) ({SHOWN.ray('ray_node_gpus_utilization')}) / 100"
    cores = f"max by (namespace, ray_io_cluster, instance) ({SHOWN.ray('ray_node_cpu_utilization')}) / 100"
    return Row(
        "Speed",
        (
            Panel(
                "Images/s",
                "Images trained on by all workers together.",
                "none",
                (Query(_rate("train_images"), "{{run}}"),),
            ),
            Panel(
                "Step time",
                "How long a step takes, its wait for data included.",
                "s",
                tuple(
                    Query(f"histogram_quantile({share}, {step})", f"{{{{run}}}} {name}")
                    for share, name in ((0.5, "median"), (0.95, "95 %"))
                ),
            ),
            Panel(
                "Waiting for data",
                "Share of the time of steps that worker 0 waits. Above a third, loading is what limits the "
                "run.",
                "percentunit",
                (Query(f"{_rate('train_data_wait_seconds')} / {_rate('train_seconds')}", "{{run}}"),),
                highest=1,
            ),
            Panel(
                "Steps/s",
                "Steps, of all workers together.",
                "none",
                (Query(_rate("train_steps"), "{{run}}"),),
            ),
            Panel(
                "GPUs",
                "How busy the GPUs of a node are.",
                "percentunit",
                (Query(gpus, "{{instance}}"),),
                highest=1,
            ),
            Panel(
                "Cores",
                "How busy the cores of a node are.",
                "percentunit",
                (Query(cores, "{{instance}}"),),
                highest=1,
            ),
        ),
    )


def _safety() -> Row:
    ends = f"sum by (namespace, run, outcome) ({SHOWN.total('train_ends', _RUN)})"
    kept, stepped = _gauge("train_last_state_timestamp_seconds"), _gauge("train_last_step_timestamp_seconds")
    return Row(
        "Safety",
        (
            Panel(
                "Age of the last state",
                "How much work would be lost with a worker now. After the end it only grows.",
                "s",
                (Query(f"time() - {kept}", "{{run}}"),),
            ),
            Panel(
                "Age of the last step",
                "Is anything happening?",
                "s",
                (Query(f"time() - {stepped}", "{{run}}"),),
            ),
            Panel(
                "Ends of workers",
                "How the workers have ended. crashed: Ray starts them again; diverged: the loss is no "
                "number.",
                "none",
                (Query(ends, "{{run}} {{outcome}}"),),
            ),
            Panel(
                "Peak memory",
                "Most memory that worker 0 has had: of its GPU, else of its process.",
                "bytes",
                (Query(_gauge("train_peak_memory_bytes"), "{{run}}"),),
            ),
            Panel(
                "Workers and restarts",
                "Did workers come and go?",
                "none",
                (
                    Query(_gauge("train_workers"), "{{run}} workers"),
                    Query(_gauge("train_restarts"), "{{run}} restarts"),
                ),
            ),
        ),
    )
