"""What is left of a job when it has ended: each metric once, as lib/track/training_metrics.py.

Jobs that ask for it (`track.prometheus`) leave them in a file for node-exporter or at a push gateway, without
Ray, so their names begin with manta_ and not with ray_manta_. `task` is pack, finetune, tune, evaluate or
predict, `subject` a dataset, run, study, bundle or folder. Each task keeps the figures of its last job alone.
"""

from lib.track.metric import Metric

_JOB = ("task", "subject")

JOBS: dict[str, Metric] = {
    "job_success": Metric("gauge", "bool", _JOB, "1 if the job did what it was asked, else 0."),
    "job_seconds": Metric("gauge", "seconds", _JOB, "Time of the job, from start to end."),
    "job_images": Metric(
        "gauge", "images", _JOB, "Images packed, measured (by a finetune job too), or answered."
    ),
    "job_bad_samples": Metric("gauge", "images", _JOB, "Images that could not be used."),
    "job_accuracy": Metric(
        "gauge", "fraction", (*_JOB, "split"), "Accuracy measured by a finetune, tune or evaluate job."
    ),
    "job_ended_timestamp_seconds": Metric("gauge", "seconds", _JOB, "When the job ended, as a Unix time."),
}
