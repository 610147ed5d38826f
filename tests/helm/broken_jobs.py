"""Values that break the rules of RayJobs and RayCronJobs."""

from tests.helm.broken import SELECTOR, V2, Case, job
from tests.helm.charts import merged

RULES: dict[str, Case] = {
    # RayJob
    "seconds without shutdown": (
        "manta-jobs",
        job(shutdownAfterJobFinishes=False, ttlSecondsAfterFinished=60),
        "jobs.a.ttlSecondsAfterFinished=60",
        "needs shutdownAfterJobFinishes=true",
    ),
    "rules beside shutdown": (
        "manta-jobs",
        job(
            shutdownAfterJobFinishes=True,
            deletionRules=[{"policy": "DeleteCluster", "jobStatus": "SUCCEEDED"}],
        ),
        "jobs.a.deletionRules=",
        "takes the place of shutdownAfterJobFinishes",
    ),
    "rules beside seconds": (
        "manta-jobs",
        job(ttlSecondsAfterFinished=5, deletionRules=[{"policy": "DeleteCluster", "jobStatus": "SUCCEEDED"}]),
        "jobs.a.ttlSecondsAfterFinished=5",
        "ttlSeconds of their own",
    ),
    "workers deleted under the autoscaler": (
        "manta-jobs",
        merged(V2, job(deletionRules=[{"policy": "DeleteWorkers", "jobStatus": "FAILED"}])),
        "jobs.a.deletionRules=DeleteWorkers",
        "does not go with autoscaling.enabled=true",
    ),
    "a cluster deleted that is not its own": (
        "manta-jobs",
        job(**SELECTOR, deletionRules=[{"policy": "DeleteCluster", "jobStatus": "FAILED"}]),
        "jobs.a.deletionRules=DeleteCluster",
        "not the job's own",
    ),
    "a rule twice": (
        "manta-jobs",
        job(deletionRules=[{"policy": "DeleteSelf", "jobStatus": "FAILED"}] * 2),
        "jobs.a.deletionRules=DeleteSelf",
        "is there twice for FAILED",
    ),
    "workers deleted after their cluster": (
        "manta-jobs",
        job(
            deletionRules=[
                {"policy": "DeleteWorkers", "jobStatus": "FAILED", "ttlSeconds": 9},
                {"policy": "DeleteCluster", "jobStatus": "FAILED", "ttlSeconds": 1},
            ]
        ),
        "jobs.a.deletionRules=DeleteWorkers after 9 s, DeleteCluster after 1 s",
        "workers go first",
    ),
    "retries on a cluster that runs": (
        "manta-jobs",
        job(**SELECTOR, backoffLimit=2),
        "jobs.a.backoffLimit=2",
        "does not go with clusterSelector",
    ),
    "retries of an interactive job": (
        "manta-jobs",
        job(submissionMode="InteractiveMode", backoffLimit=2),
        "jobs.a.backoffLimit=2",
        "does not go with submissionMode=InteractiveMode",
    ),
    "suspended without shutdown": (
        "manta-jobs",
        job(suspend=True, shutdownAfterJobFinishes=False),
        "jobs.a.suspend=true",
        "needs shutdownAfterJobFinishes=true",
    ),
    "suspended on a cluster that runs": (
        "manta-jobs",
        job(**SELECTOR, suspend=True),
        "jobs.a.suspend=true",
        "does not go with clusterSelector",
    ),
    "sidecar and a submitter": (
        "manta-jobs",
        job(submissionMode="SidecarMode", submitter={"backoffLimit": 1}),
        "jobs.a.submitter=",
        "submissionMode=SidecarMode has no submitter pod",
    ),
    "sidecar on a cluster that runs": (
        "manta-jobs",
        job(**SELECTOR, submissionMode="SidecarMode"),
        "jobs.a.clusterSelector=",
        "does not go with submissionMode=SidecarMode",
    ),
    "sidecar and the head's restart policy": (
        "manta-jobs",
        job(submissionMode="SidecarMode", head={"restartPolicy": "Always"}),
        "jobs.a.head.restartPolicy=Always",
        "SidecarMode needs Never",
    ),
    "unknown mode": (
        "manta-jobs",
        job(submissionMode="Batch"),
        "jobs.a.submissionMode=Batch",
        "must be K8sJobMode",
    ),
    "selector without a cluster": (
        "manta-jobs",
        job(clusterSelector={"team": "a"}),
        "jobs.a.clusterSelector=",
        "needs the name of a cluster",
    ),
    "jobs that share a head's Service": (
        "manta-jobs",
        {"head": {"serviceName": "x"}, **job()},
        "head.serviceName=x",
        "heads of their own",
    ),
    # RayCronJob
    "time zone in the schedule": (
        "manta-jobs",
        job(schedule="CRON_TZ=Asia/Tokyo 0 3 * * *"),
        "jobs.a.schedule=CRON_TZ=Asia/Tokyo 0 3 * * *",
        "use jobs.a.timeZone",
    ),
    "no schedule": (
        "manta-jobs",
        job(schedule="tomorrow"),
        "jobs.a.schedule=tomorrow",
        "must be five fields",
    ),
    "unknown time zone": (
        "manta-jobs",
        job(schedule="@daily", timeZone="Europe/Atlantis"),
        "jobs.a.timeZone=Europe/Atlantis",
        "must be a time zone of the IANA",
    ),
    "time zone without a schedule": (
        "manta-jobs",
        job(timeZone="Europe/Berlin"),
        "jobs.a.timeZone=Europe/Berlin",
        "needs a schedule",
    ),
}
