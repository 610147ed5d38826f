"""What the three charts that run Ray have in common."""

from typing import Annotated, Any, Literal

from pydantic import Field

from helm.values.pods import Digest, Head, Resources, SecretKey, Tag, WorkerGroup
from helm.values.section import (
    AbsolutePath,
    Annotations,
    Duration,
    Int32,
    Item,
    Key,
    Labels,
    OptionalQuantity,
    OptionalSubdomain,
    Port,
    Subdomain,
    Values,
    Variable,
)


class Image(Values):
    """The one image that all pods run."""

    registry: str = ""
    """Registry, such as registry.example.com:5000; empty is that of the nodes."""
    repository: Annotated[str, Field(min_length=1)] = "manta"
    """Repository."""
    tag: Tag = ""
    """Tag; empty is the version of the chart's application."""
    digest: Digest = ""
    """Digest, sha256:…; wins over the tag."""
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When it is pulled."""
    pull_secrets: list[Subdomain] = []
    """Secrets with credentials of the registry."""


class Auth(Values):
    """Tokens of Ray: who may reach the cluster's own ports."""

    enabled: bool = True
    """Ask for a token."""
    secret_name: OptionalSubdomain = ""
    """Secret with the token as auth_token; without a name the operator makes one."""
    kubernetes: bool = False
    """Check tokens of Kubernetes instead; RayJob and RayService refuse it."""


class ServiceAccount(Values):
    """The identity of the pods. Its token is mounted where the autoscaler needs it, and nowhere else."""

    create: bool = True
    """Make one."""
    name: OptionalSubdomain = ""
    """Its name; empty is the name of the release's objects, or `default` if none is made."""
    annotations: Annotations = {}
    """Annotations, such as those of workload identity (S3, GCS)."""


class Security(Values):
    """Users and groups of the processes; the rest of the Restricted standard is not optional."""

    run_as_user: Annotated[int, Field(ge=1, lt=2**31)] = 10001
    """User."""
    run_as_group: Annotated[int, Field(ge=1, lt=2**31)] = 10001
    """Group."""
    fs_group: Annotated[int, Field(ge=1, lt=2**31)] = 10001
    """Group of mounted volumes."""


class Storage(Values):
    """$MANTA_HOME: datasets, runs and bundles, seen by all pods."""

    mount_path: AbsolutePath = "/data"
    """Where the claim is mounted; $MANTA_HOME is the folder manta in it."""
    claim: OptionalSubdomain = ""
    """Name of a claim that exists (ReadWriteMany)."""
    size: OptionalQuantity = ""
    """Size of a claim to make; without claim and size each pod has an empty folder, lost with it."""
    storage_class_name: OptionalSubdomain = ""
    """Class of the claim to make; empty is the default class."""
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"] = "ReadWriteMany"
    """Access of the claim to make."""
    keep: bool = True
    """The claim that was made outlives `helm uninstall`."""


class Peer(Item):
    """Pods that may come in: by labels of their namespace, of themselves, or both."""

    namespace_labels: Labels | None = None
    """Labels of the namespace; without them the namespace of the release, and {} is any."""
    pod_labels: Labels | None = None
    """Labels of the pods; without them all."""


class Egress(Values):
    """Where the pods may go."""

    enabled: bool = False
    """Allow only the pods of the release, DNS, and what stands below."""
    cidrs: list[Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$", examples=["10.0.0.0/8"])]] = []
    """Networks, such as those of the API server and of S3."""
    ports: list[Port] = [443]
    """Ports there."""


class NetworkPolicy(Values):
    """Who may come in. Pods of the release, the operator, and nobody else unless named."""

    enabled: bool = True
    """Make one."""
    clients: list[Peer] = []
    """Who may use the dashboard, Ray's client port and the endpoint."""
    metrics: list[Peer] = [Peer(namespace_labels={"kubernetes.io/metadata.name": "monitoring"})]
    """Who may read metrics."""
    egress: Egress = Egress()


class Redis(Values):
    """Redis that keeps the state of the head."""

    address: str = ""
    """Address, such as redis:6379."""
    username: SecretKey | None = None
    """User name, in a Secret."""
    password: SecretKey | None = None
    """Password, in a Secret."""
    namespace: str = ""
    """Prefix of the keys; by default the id of the cluster."""


class RocksDb(Values):
    """A volume of the head that keeps its state."""

    claim_name: OptionalSubdomain = ""
    """A claim that exists; instead of size and class."""
    size: OptionalQuantity = ""
    """Size of a claim that the operator makes."""
    storage_class_name: OptionalSubdomain = ""
    """Its class."""


class Gcs(Values):
    """Fault tolerance of the head: workers and the endpoint outlive it."""

    backend: str = "none"
    """none, redis, or rocksdb (alpha: the operator needs the gate GCSFaultToleranceEmbeddedStorage)."""
    redis: Redis = Redis()
    rocksdb: RocksDb = RocksDb()


class Autoscaling(Values):
    """Ray's autoscaler: it adds and removes workers between minReplicas and maxReplicas."""

    enabled: bool = False
    """Run it, beside the head."""
    version: str = "v2"
    """v2 or v1."""
    idle_timeout_seconds: Int32 = 60
    """Idle time after which a worker is taken away."""
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] = "Default"
    """How fast workers are added."""
    resources: Resources = Resources(cpu="500m", memory="512Mi")
    """What the autoscaler gets."""


class Scheduling(Values):
    """Queues and gang scheduling."""

    scheduler: Literal["kubernetes", "kueue", "volcano"] = "kubernetes"
    """Who decides when pods may start; kueue and volcano must be installed."""
    queue: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")
    """Queue of kueue or volcano."""
    gang: bool = False
    """volcano: start all pods or none."""
    priority_class_name: OptionalSubdomain = ""
    """Priority of the whole workload (kueue's WorkloadPriorityClass, or the class that volcano uses)."""


class RemoteKey(Item):
    """Where a value lies in the store of secrets."""

    key: Annotated[str, Field(min_length=1)]
    """Name in the store."""
    property: Annotated[str, Field(min_length=1)] | None = None
    """Property of it."""


class ExternalSecret(Item):
    """A Secret that the External Secrets operator fills."""

    store: Subdomain
    """Name of the store."""
    store_kind: Literal["SecretStore", "ClusterSecretStore"] = "ClusterSecretStore"
    """Its kind."""
    refresh_interval: Duration = "1h"
    """How often it is read."""
    data: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")], RemoteKey]
    """Keys of the Secret."""


class RayValues(Values):
    """What the charts with a Ray cluster have in common."""

    name_override: str = Field(default="", pattern=r"^([a-z]([-a-z0-9]{0,38}[a-z0-9])?)?$")
    """In place of the chart's name, in names and labels."""
    fullname_override: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?)?$")
    """In place of release and chart, in names."""
    labels: Labels = {}
    """Labels of all objects and pods."""
    annotations: Annotations = {}
    """Annotations of the Ray resource."""
    image: Image = Image()
    ray_version: str = Field(default="2.60.0", pattern=r"^([0-9]+\.[0-9]+\.[0-9]+)?$")
    """Version of Ray in the image."""
    auth: Auth = Auth()
    service_account: ServiceAccount = ServiceAccount()
    security: Security = Security()
    storage: Storage = Storage()
    network_policy: NetworkPolicy = NetworkPolicy()
    env: dict[Variable, str | SecretKey] = {}
    """Environment of all pods: text, or a key of a Secret."""
    env_from_secrets: list[Subdomain] = []
    """Secrets whose keys become variables of all pods, such as AWS_ACCESS_KEY_ID."""
    head: Head = Head()
    workers: dict[Key, WorkerGroup] = {"workers": WorkerGroup(resources=Resources(cpu="4", memory="16Gi"))}
    """Groups of workers by name. Yours come beside this one; `workers: {workers: null}` removes it."""
    autoscaling: Autoscaling = Autoscaling()
    gcs: Gcs = Gcs()
    scheduling: Scheduling = Scheduling()
    external_secrets: dict[Subdomain, ExternalSecret] = {}
    """Secrets to fill from a store, by name; other values refer to them by that name."""
    extra_manifests: list[dict[str, Any]] = Field(default=[], examples=[[]])
    """More objects; strings in them may hold template actions."""
