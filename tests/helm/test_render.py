"""Every chart with every profile and several names of releases is what Kubernetes and KubeRay take."""

import pytest

from tests.helm.charts import CHARTS, Charts, Object, merged, only, pods, profiles
from tests.helm.kubernetes import (
    CRDS,
    CRDS_MISSING,
    OTHERS,
    RAY_KINDS,
    VERSIONS,
    bad_name,
    problems,
    restricted,
)

RELEASES = ["demo", "manta", "r" * 53, "a-release.with.dots-and-a-name-that-is-rather-long", "1st"]
CASES = [(chart, profile) for chart in CHARTS for profile in ["", *profiles(chart)]]
IDS = [f"{chart}-{profile or 'defaults'}" for chart, profile in CASES]


def values(chart: str, profile: str) -> Object:
    return profiles(chart)[profile] if profile else {}


@pytest.mark.parametrize(("chart", "profile"), CASES, ids=IDS)
def test_core_objects_are_valid(charts: Charts, chart: str, profile: str) -> None:
    found = charts.render(chart, values(chart, profile))
    core = [each for each in found if each["kind"] not in (*RAY_KINDS, *OTHERS)]
    assert [said for each in core for said in problems(each)] == []
    assert core or chart == "manta-monitoring"


@pytest.mark.skipif(not CRDS.is_dir(), reason=CRDS_MISSING)
@pytest.mark.parametrize(("chart", "profile"), CASES, ids=IDS)
def test_custom_resources_are_valid(charts: Charts, chart: str, profile: str) -> None:
    rays = [each for each in charts.render(chart, values(chart, profile)) if each["kind"] in RAY_KINDS]
    assert [said for each in rays for said in problems(each)] == []
    assert rays or (chart, profile) == ("manta-jobs", "") or chart == "manta-monitoring"


@pytest.mark.skipif(not CRDS.is_dir(), reason=CRDS_MISSING)
def test_a_misspelt_field_of_a_custom_resource_is_found(charts: Charts) -> None:
    cluster = only(charts.render("manta-cluster"), "RayCluster")
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = "two"
    assert len(problems(cluster)) == 2


def test_a_misspelt_field_of_a_core_object_is_found_in_every_version(charts: Charts) -> None:
    policy = only(charts.render("manta-cluster"), "NetworkPolicy")
    policy["spec"]["policyType"] = ["Ingress"]
    assert len(problems(policy)) == len(VERSIONS)


@pytest.mark.parametrize(("chart", "profile"), CASES, ids=IDS)
def test_pods_meet_the_restricted_standard(charts: Charts, chart: str, profile: str) -> None:
    found = list(pods(charts.render(chart, values(chart, profile))))
    assert [f"{path}: {said}" for path, pod in found for said in restricted(pod)] == []
    # Templates within custom resources are pods of their Kubernetes version too.
    kind = {"apiVersion": "v1", "kind": "Pod"}
    assert [f"{path}: {said}" for path, pod in found for said in problems({**pod, **kind})] == []
    assert found or (chart, profile) == ("manta-jobs", "") or chart == "manta-monitoring"


def test_a_pod_that_is_not_restricted_is_found(charts: Charts) -> None:
    _, pod = next(pods(charts.render("manta-serve")))
    pod["spec"]["containers"].append({"name": "bare"})
    pod["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    assert len(restricted(pod)) == 4


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("chart", CHARTS)
def test_names_fit_for_any_release(charts: Charts, chart: str, release: str) -> None:
    found = charts.render(chart, profiles(chart)["minimal"], name=release)
    assert [bad for each in found if (bad := bad_name(each))] == []
    keys = [(each["kind"], each["metadata"]["name"]) for each in found]
    assert len(set(keys)) == len(keys)


def test_a_name_of_your_own_fits_too(charts: Charts) -> None:
    for name in ("x" * 200, "0.name.with-dots" * 5):
        for chart in CHARTS:
            found = charts.render(chart, merged(profiles(chart)["minimal"], {"fullnameOverride": name}))
            assert [bad for each in found if (bad := bad_name(each))] == []


def test_names_that_are_cut_stay_apart(charts: Charts) -> None:
    first, second = (
        only(charts.render("manta-serve", name=f"{'x' * 50}-{end}"), "RayService")["metadata"]["name"]
        for end in "ab"
    )
    assert first != second


def test_labels_are_valid_and_selectors_find_their_pods(charts: Charts) -> None:
    for chart, profile in CASES:
        found = charts.render(chart, values(chart, profile))
        templates = [pod["metadata"]["labels"] for _, pod in pods(found)]
        for each in found:
            assert all(len(value) <= 63 for value in each["metadata"]["labels"].values())
            if each["kind"] not in ("NetworkPolicy", "PodDisruptionBudget"):
                continue
            selector = each["spec"].get("podSelector") or each["spec"]["selector"]
            wanted = set(selector["matchLabels"].items())
            found_some = any(wanted <= set(labels.items()) for labels in templates)
            assert found_some or (chart, profile) == ("manta-jobs", ""), (chart, profile, wanted)
            changing = {"helm.sh/chart", "app.kubernetes.io/version"}
            assert not changing & set(selector["matchLabels"])


def test_the_image_by_tag_by_digest_and_for_one_group(charts: Charts) -> None:
    digest = "sha256:" + "0" * 64
    cases: list[tuple[Object, Object, str]] = [
        ({}, {}, "manta:0.1.0"),
        ({"registry": "r:5000", "tag": "x"}, {}, "r:5000/manta:x"),
        ({"digest": digest, "tag": "x"}, {}, f"manta@{digest}"),
        ({"digest": digest, "registry": "r"}, {"tag": "cuda"}, "r/manta:cuda"),
    ]
    for image, own, wanted in cases:
        given = {"image": image, "workers": {"workers": {"image": own}}}
        spec = only(charts.render("manta-cluster", given), "RayCluster")["spec"]
        assert spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["image"] == wanted


def test_a_token_of_kubernetes_is_mounted_where_the_autoscaler_runs_only(charts: Charts) -> None:
    for enabled in (False, True):
        given = {"autoscaling": {"enabled": enabled}}
        mounted = {
            path: pod["spec"]["automountServiceAccountToken"]
            for path, pod in pods(charts.render("manta-serve", given))
        }
        assert [path for path, is_mounted in mounted.items() if is_mounted] == (
            ["RayService/demo-manta-serve.spec.rayClusterConfig.headGroupSpec.template"] if enabled else []
        )


def test_defaults_that_keep_a_cluster_up(charts: Charts) -> None:
    spec = only(charts.render("manta-serve"), "RayService")["spec"]
    assert spec["excludeHeadPodFromServeSvc"] is True
    cluster = spec["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    annotations = head["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"
    worker = cluster["workerGroupSpecs"][0]["template"]["spec"]
    # As long as the operator tells workers to wait for a head that is lost.
    alive = worker["containers"][0]["livenessProbe"]
    assert alive["failureThreshold"] * alive["periodSeconds"] == 600
    # 30 s of a request, 5 s to stop, 15 s to drain, and 10 s besides.
    assert worker["terminationGracePeriodSeconds"] == 60
    for _, pod in pods(charts.render("manta-serve")):
        for container in pod["spec"]["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]


def test_queues_are_labels_of_the_ray_resource_alone(charts: Charts) -> None:
    kueue: Object = {"scheduling": {"scheduler": "kueue", "queue": "q", "priorityClassName": "high"}}
    volcano: Object = {"scheduling": {"scheduler": "volcano", "queue": "q", "gang": True}}
    job: Object = {"jobs": {"a": {"job": {"finetune": {"run": {"name": "a"}}}}}}
    for chart, kind in (
        ("manta-cluster", "RayCluster"),
        ("manta-jobs", "RayJob"),
        ("manta-serve", "RayService"),
    ):
        more = job if chart == "manta-jobs" else {}
        labels = only(charts.render(chart, kueue | more), kind)["metadata"]["labels"]
        assert labels["kueue.x-k8s.io/queue-name"] == "q"
        assert labels["kueue.x-k8s.io/priority-class"] == "high"
        found = charts.render(chart, volcano | more)
        labels = only(found, kind)["metadata"]["labels"]
        assert labels["ray.io/scheduler-name"] == "volcano"
        assert labels["volcano.sh/queue-name"] == "q"
        assert labels["ray.io/gang-scheduling-enabled"] == "true"
        for _, pod in pods(found):
            assert "volcano.sh/queue-name" not in pod["metadata"]["labels"]


def test_a_network_policy_that_keeps_pods_in(charts: Charts) -> None:
    spec = only(charts.render("manta-serve", profiles("manta-serve")["airgapped"]), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    itself, dns, networks = spec["egress"]
    assert itself["to"] == [{"podSelector": spec["podSelector"]}]
    assert {each["port"] for each in dns["ports"]} == {53}
    assert networks["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    assert [each["port"] for each in networks["ports"]] == [443, 6443]
    assert spec["ingress"][-1]["from"] == [{"podSelector": {"matchLabels": {"app": "shop"}}}]


def test_a_secret_of_a_store_has_the_name_that_values_refer_to(charts: Charts) -> None:
    found = charts.render("manta-serve", profiles("manta-serve")["airgapped"])
    secret = only(found, "ExternalSecret")
    assert secret["spec"]["target"]["name"] == secret["metadata"]["name"] == "endpoint-tokens"
    assert secret["spec"]["secretStoreRef"] == {"name": "vault", "kind": "ClusterSecretStore"}
    assert secret["spec"]["data"] == [{"secretKey": "tokens", "remoteRef": {"key": "ml/endpoint"}}]
    route = only(found, "HTTPRoute")["spec"]
    assert route["parentRefs"] == [{"name": "internal", "namespace": "gateways", "sectionName": "https"}]
    (backend,) = route["rules"][0]["backendRefs"]
    service = only(found, "RayService")["spec"]["serveService"]
    assert backend == {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}


def test_storage_that_exists_that_is_made_and_none(charts: Charts) -> None:
    def home(given: Object) -> Object:
        _, pod = next(pods(charts.render("manta-jobs", {"storage": given, "jobs": job})))
        (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == "home"]
        return {key: value for key, value in volume.items() if key != "name"}

    job: Object = {"a": {"job": {"finetune": {"run": {"name": "a"}}}, "submissionMode": "HTTPMode"}}
    assert home({}) == {"emptyDir": {}}
    assert home({"claim": "data"}) == {"persistentVolumeClaim": {"claimName": "data"}}
    assert home({"size": "1Gi"}) == {"persistentVolumeClaim": {"claimName": "demo-manta-jobs"}}
    claim = only(charts.render("manta-jobs", {"storage": {"size": "1Gi"}}), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_extra_manifests_are_templates(charts: Charts) -> None:
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}
    for chart in ("manta-cluster", "manta-jobs", "manta-serve"):
        found = charts.render(chart, {"extraManifests": [extra]})
        assert "demo-more" in [each["metadata"]["name"] for each in found]


def test_notes_follow_what_is_enabled(charts: Charts) -> None:
    def notes(chart: str, given: Object) -> str:
        return charts.files(chart, given)[f"{chart}/templates/NOTES.txt"]

    assert "lost with the pods" in notes("manta-cluster", {})
    assert "lost with the pods" not in notes("manta-cluster", {"storage": {"claim": "data"}})
    assert "Bearer" in notes("manta-serve", {})
    open_endpoint = {"tokens": {"enabled": False}}
    assert "Bearer" not in notes("manta-serve", open_endpoint)
    assert "asks for no token" in notes("manta-serve", open_endpoint)
    assert "RayCronJob is alpha" in notes("manta-jobs", profiles("manta-jobs")["airgapped"])
    for chart, profile in CASES:
        assert "<no value>" not in notes(chart, values(chart, profile))


def test_nothing_renders_a_missing_value(charts: Charts) -> None:
    for chart, profile in CASES:
        for path, text in charts.files(chart, values(chart, profile)).items():
            assert "<no value>" not in text, path
            assert "%!" not in text, path
