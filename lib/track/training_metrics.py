"""The metrics of training: each once, with its name, kind, unit, labels and meaning.

Worker 0 of a run writes them: its numbers are those of all workers together.
"""

from lib.track.metric import Metric

_STEP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

TRAINING: dict[str, Metric] = {
    "train_running": Metric("gauge", "bool", ("run",), "1 while a run trains, 0 once it has ended."),
    "train_workers": Metric("gauge", "workers", ("run",), "Workers of the run."),
    "train_starts": Metric(
        "counter", "starts", ("run",), "Times that the workers began; all but the first are restarts."
    ),
    "train_steps": Metric("counter", "steps", ("run",), "Steps taken."),
    "train_images": Metric("counter", "images", ("run",), "Images trained on, of all workers."),
    "train_step_seconds": Metric(
        "histogram", "seconds", ("run",), "Time of a step, its wait for data included.", _STEP_S
    ),
    "train_data_wait_seconds": Metric("counter", "seconds", ("run",), "Time that worker 0 waited for data."),
    "train_loss": Metric(
        "gauge", "nats", ("run", "split"), "Loss. split: train (of the last steps), val (of the last epoch)."
    ),
    "train_accuracy": Metric(
        "gauge", "fraction", ("run", "split"), "Accuracy of the last epoch. split: train, val."
    ),
    "train_learning_rate": Metric("gauge", "rate", ("run",), "Learning rate of the head."),
    "train_gradient_norm": Metric(
        "gauge", "norm", ("run",), "Norm of the gradients, before they are clipped."
    ),
    "train_epoch": Metric("gauge", "epochs", ("run",), "Epochs done, with the share of the present one."),
    "train_epochs": Metric("gauge", "epochs", ("run",), "Epochs that the run is to have."),
    "train_time_left_seconds": Metric("gauge", "seconds", ("run",), "Time until the run ends, by its pace."),
    "train_bad_samples": Metric("gauge", "images", ("run",), "Samples in quarantine."),
    "train_last_step_timestamp_seconds": Metric(
        "gauge", "seconds", ("run",), "When the last step ended, as a Unix time."
    ),
    "train_last_state_timestamp_seconds": Metric(
        "gauge", "seconds", ("run",), "When the last resumable state was on the disk, as a Unix time."
    ),
}
