"""The metrics of training: each once, with its name, kind, unit, labels and meaning.

Worker 0 of a run writes them: its numbers are those of all workers together, unless they say otherwise. `run`
is the folder of the run; all trials of a study have the name of the study, and differ by Ray's own WorkerId.
"""

from lib.track.metric import Metric

_STEP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

TRAINING: dict[str, Metric] = {
    "train_running": Metric("gauge", "bool", ("run",), "1 while a run goes on, 0 once it has ended."),
    "train_measuring": Metric(
        "gauge", "bool", ("run",), "1 while a split is measured, in which time there are no steps."
    ),
    "train_workers": Metric("gauge", "workers", ("run",), "Workers of the run."),
    "train_restarts": Metric(
        "gauge", "starts", ("run",), "Times that the workers began again; kept in the folder of the run."
    ),
    "train_ends": Metric(
        "counter",
        "ends",
        ("run", "outcome"),
        "Ends of the workers. outcome: finished, stopped (by a signal), diverged (the loss is no number), "
        "failed (a restart would not help), crashed (Ray starts them again, up to run.max_failures).",
    ),
    "train_steps": Metric(
        "counter", "steps", ("run",), "Steps taken; those that are done again after a restart count again."
    ),
    "train_images": Metric("counter", "images", ("run",), "Images trained on; again as steps do."),
    "train_seconds": Metric(
        "counter", "seconds", ("run",), "Time of the steps, their wait for data included: not of measuring."
    ),
    "train_data_wait_seconds": Metric("counter", "seconds", ("run",), "Time that worker 0 waited for data."),
    "train_step_seconds": Metric(
        "histogram", "seconds", ("run",), "Time of a step, its wait for data included.", _STEP_S
    ),
    "train_loss": Metric(
        "gauge",
        "nats",
        ("run", "split"),
        "Loss. split: train (of worker 0's last seconds; at the end of an epoch, of all of it), val (of the "
        "last epoch).",
    ),
    "train_accuracy": Metric("gauge", "fraction", ("run", "split"), "Accuracy, of the same as the loss."),
    "train_learning_rate": Metric("gauge", "rate", ("run",), "Learning rate of the head."),
    "train_gradient_norm": Metric(
        "gauge",
        "norm",
        ("run",),
        "Norm of the gradients of a step, before they are clipped; not of a network in shards.",
    ),
    "train_epoch": Metric("gauge", "epochs", ("run",), "Epochs done, with the share of the present one."),
    "train_epochs": Metric("gauge", "epochs", ("run",), "Epochs that the run is to have."),
    "train_time_left_seconds": Metric("gauge", "seconds", ("run",), "Time until the run ends, by its pace."),
    "train_bad_samples": Metric("gauge", "images", ("run",), "Samples in quarantine."),
    "train_peak_memory_bytes": Metric(
        "gauge", "bytes", ("run",), "Most memory that worker 0 has had: of its GPU, else of its process."
    ),
    "train_last_step_timestamp_seconds": Metric(
        "gauge",
        "seconds",
        ("run",),
        "When the last step or measuring ended, as a Unix time; before any, when the run began.",
    ),
    "train_last_state_timestamp_seconds": Metric(
        "gauge",
        "seconds",
        ("run",),
        "When the last resumable state was on the disk, as a Unix time; before any, when the run began.",
    ),
}
