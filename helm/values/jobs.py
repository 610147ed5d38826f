"""manta-jobs: a map of jobs, each a RayJob, or a RayCronJob if it has a schedule."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from helm.values.budget import Tests
from helm.values.pods import JobHead, Resources, WorkerGroup
from helm.values.ray import RayValues
from helm.values.section import Int32, Item, Key, LabelKey, Name, Values
from lib.config.ensembles import EnsembleConfig
from lib.config.exporting import ExportConfig
from lib.config.packing import PackConfig
from lib.config.predicting import PredictConfig
from lib.config.quantizing import QuantizeConfig
from lib.config.schema import EvaluateConfig, FinetuneConfig
from lib.config.tune import TuneConfig

# A job script and the model of its words: all that a new kind of job needs.
KINDS: dict[str, type[BaseModel]] = {
    "pack": PackConfig,
    "finetune": FinetuneConfig,
    "tune": TuneConfig,
    "evaluate": EvaluateConfig,
    "ensemble": EnsembleConfig,
    "quantize": QuantizeConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
}

_fields: dict[str, Any] = {
    kind: (model | None, Field(default=None, description=f"The words of jobs/{kind}.py."))
    for kind, model in KINDS.items()
}
Work = create_model(
    "Work", __base__=Item, __doc__="What a job does: one job script, and its words.", **_fields
)
Work.model_config["json_schema_extra"] = {"minProperties": 1, "maxProperties": 1}
Work.model_rebuild(force=True)

Policy = Literal["DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone"]


class DeletionRule(Item):
    """What is deleted, when."""

    policy: Policy
    """What is deleted."""
    job_status: Literal["SUCCEEDED", "FAILED"]
    """How the job ended."""
    ttl_seconds: Int32 = 0
    """How long after that."""


class Submitter(Values):
    """The pod that submits a job and follows its log (K8sJobMode)."""

    resources: Resources = Resources(cpu="500m", memory="1Gi")
    """What it gets."""
    backoff_limit: Int32 = 2
    """How often it is started again."""


class JobSubmitter(Item):
    """The submitter of one job, over that of all jobs."""

    resources: Resources | None = None
    """What it gets."""
    backoff_limit: Int32 | None = None
    """How often it is started again."""


class Job(Item):
    """A job."""

    job: Work  # type: ignore[valid-type]  # made above
    """Job script and words, such as `finetune: {run: {name: cats}}`."""
    presets: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]+\.ya?ml$")]] = []
    """Presets before the words, such as jobs/presets/digits.yaml."""
    schedule: str | None = Field(default=None, examples=["0 3 * * *"])
    """Cron schedule: makes it a RayCronJob, which is alpha (the operator needs the gate RayCronJob)."""
    time_zone: str | None = Field(default=None, examples=["Europe/Berlin"])
    """Time zone of the schedule."""
    suspend: bool = False
    """Do not start yet."""
    head: JobHead | None = None
    """Changes to the head of all jobs."""
    workers: dict[Key, WorkerGroup] | None = None
    """Groups of workers, in place of those of all jobs."""
    submission_mode: str = Field(default="K8sJobMode", examples=["K8sJobMode", "SidecarMode"])
    """K8sJobMode (a pod submits it), HTTPMode (the operator does), SidecarMode (a container of the head does)
    or InteractiveMode (you do)."""
    submitter: JobSubmitter | None = None
    """Changes to the submitter of all jobs."""
    cluster_selector: dict[LabelKey, Name] | None = Field(
        default=None, examples=[{"ray.io/cluster": "team-manta-cluster"}]
    )
    """Submit to a cluster that runs, such as {ray.io/cluster: NAME}, in place of one of its own."""
    backoff_limit: Int32 = 0
    """How often a failed job is started again, with a new cluster."""
    active_deadline_seconds: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """Most seconds that a job may take."""
    shutdown_after_job_finishes: bool = True
    """Remove the cluster at the end."""
    ttl_seconds_after_finished: Int32 | None = None
    """Seconds that the cluster stays after that; 300 by default where the cluster is removed."""
    deletion_rules: list[DeletionRule] | None = None
    """Finer rules, in place of the two above."""


class JobsValues(RayValues):
    """Jobs on Ray clusters of their own."""

    jobs: dict[Key, Job] = {}
    """Jobs by name. A changed job gets a new name and so a new run; one that ended is never touched."""
    submitter: Submitter = Submitter()
    keep_runs: bool = False
    """Runs that a newer one replaces stay in the cluster, until you delete them."""
    tests: Tests = Tests()
