"""The pods of a Ray cluster: its head, and its groups of workers."""

from typing import Annotated, Any, Literal

from pydantic import Field

from helm.values.section import (
    AbsolutePath,
    Annotations,
    Int32,
    Item,
    Key,
    LabelKey,
    Labels,
    LabelValue,
    OptionalSubdomain,
    Quantity,
    Subdomain,
    Values,
    Variable,
)

Digest = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Tag = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$")]


class PodImage(Item):
    """Another image for some pods; what is left out comes from `image`."""

    registry: str | None = None
    """Registry, such as registry.example.com:5000."""
    repository: Annotated[str, Field(min_length=1)] | None = None
    """Repository."""
    tag: Tag | None = None
    """Tag."""
    digest: Digest | None = None
    """Digest, sha256:…; wins over the tag."""


class Resources(Item):
    """What a pod gets. Requests are limits, so that no pod is evicted for memory that it was promised."""

    cpu: Quantity = "1"
    """Cores."""
    memory: Quantity = "4Gi"
    """Memory; /dev/shm counts towards it."""
    gpu: Int32 = 0
    """GPUs."""
    gpu_resource: LabelKey = "nvidia.com/gpu"
    """What Kubernetes calls them."""
    ephemeral_storage: Quantity | None = None
    """Local disk."""


class Toleration(Item):
    """A taint that pods may ignore."""

    key: LabelKey | None = None
    """Key of the taint; without it all are tolerated, with operator Exists."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists takes any value."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; all without it."""
    toleration_seconds: Int32 | None = None
    """How long a pod stays; with effect NoExecute."""


class TopologySpread(Item):
    """Pods of the group are spread over nodes, zones or racks."""

    topology_key: LabelKey
    """Label of nodes, such as topology.kubernetes.io/zone."""
    max_skew: Annotated[int, Field(ge=1, lt=2**31)] = 1
    """Most pods that one place may have more than another."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    """What happens if that is impossible."""


class SecretKey(Item):
    """A key of a Secret."""

    name: Subdomain
    """Name of the Secret."""
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """Key in it."""


class Volume(Item):
    """A volume; give one of secret, configMap, claim and emptyDir."""

    mount_path: AbsolutePath
    """Where it is mounted."""
    read_only: bool = True
    """Mounted for reading only; not for emptyDir."""
    secret: Subdomain | None = None
    """Name of a Secret."""
    config_map: Subdomain | None = None
    """Name of a ConfigMap."""
    claim: Subdomain | None = None
    """Name of a PersistentVolumeClaim."""
    empty_dir: Quantity | None = None
    """Size limit of an empty folder."""


class Pod(Item):
    """What pods of a kind have."""

    resources: Resources | None = None
    """What a pod gets."""
    image: PodImage | None = None
    """Another image for these pods, such as the one for GPUs."""
    env: dict[Variable, str | SecretKey] | None = Field(default=None, examples=[{"NCCL_DEBUG": "INFO"}])
    """Environment, beside that of all pods: text, or a key of a Secret."""
    labels: Labels | None = None
    """Labels of the pods."""
    annotations: Annotations | None = None
    """Annotations of the pods."""
    node_selector: Labels | None = None
    """Labels that a node must have."""
    tolerations: list[Toleration] | None = None
    """Taints that are ignored."""
    affinity: dict[Literal["nodeAffinity", "podAffinity", "podAntiAffinity"], dict[str, Any]] | None = Field(
        default=None, examples=[{"nodeAffinity": {}}]
    )
    """Affinity, as Kubernetes has it."""
    topology_spread: list[TopologySpread] | None = None
    """How pods are spread."""
    priority_class_name: Subdomain | None = None
    """Priority of the pods."""
    runtime_class_name: Subdomain | None = None
    """Runtime of the containers, such as nvidia."""
    scheduler_name: Subdomain | None = None
    """Another scheduler than that of Kubernetes."""
    termination_grace_period_seconds: Int32 | None = None
    """Time between SIGTERM and the end; by default what draining needs."""
    restart_policy: str | None = Field(default=None, examples=["Never"])
    """Never or Always; the autoscaler and SidecarMode need Never, which the operator sets by itself."""
    volumes: dict[Key, Volume] | None = None
    """More volumes."""
    ray_start_params: dict[Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")], str] | None = Field(
        default=None, examples=[{"object-store-memory": "2000000000"}]
    )
    """Flags of `ray start`."""
    ray_resources: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")], str] | None = Field(
        default=None, examples=[{"CPU": "4"}]
    )
    """Resources that Ray counts, in place of those in rayStartParams."""
    ray_labels: Labels | None = None
    """Labels that Ray's scheduler sees."""


class Head(Pod, Values):
    """The head: it plans and runs drivers; no tasks."""

    resources: Resources = Resources(cpu="2", memory="8Gi")
    """What the head gets. Drivers of jobs run here."""
    ray_start_params: dict[Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")], str] = {"num-cpus": "0"}
    """Flags of `ray start`; num-cpus 0 keeps tasks off the head."""
    service_name: OptionalSubdomain = ""
    """Name of the head's Service; a RayService refuses one."""
    service_annotations: Annotations = {}
    """Annotations of the head's Service."""


class JobHead(Pod):
    """The head of one job, over that of all jobs."""


class WorkerGroup(Pod):
    """Workers of one kind."""

    replicas: Int32 | None = None
    """Workers at the start; 1 by default, or minReplicas."""
    min_replicas: Int32 | None = None
    """Fewest workers that the autoscaler leaves; replicas by default."""
    max_replicas: Int32 | None = None
    """Most workers that the autoscaler starts; replicas by default."""
    num_of_hosts: Annotated[int, Field(ge=1, lt=2**31)] = 1
    """Pods per replica."""
    idle_timeout_seconds: Int32 | None = None
    """Idle time after which the autoscaler takes a worker away."""
    priority: Int32 | None = None
    """Groups with a higher priority are filled first."""
