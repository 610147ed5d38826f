"""The configuration of Ray Serve that the chart renders: Ray's schema, strictly, and lib.config take it."""

from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from ray.serve.schema import ServeDeploySchema

from lib.config.load import load
from lib.config.serving import ServeConfig
from serving.app import DEPLOYMENT, NAME
from serving.messages import SERVICER
from serving.rollout import words
from tests.helm.charts import Charts, Object, only, profiles


def serve_config(charts: Charts, values: Object) -> Object:
    text = only(charts.render("manta-serve", values), "RayService")["spec"]["serveConfigV2"]
    assert isinstance(text, str)
    found: Object = yaml.safe_load(text)
    return found


def unknown(given: Any, model: type[BaseModel], path: str = "") -> list[str]:
    """Keys that a model of Ray does not have, and would ignore."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    found = [f"{path}{key}" for key in given if key not in fields]
    for key, value in given.items():
        if key not in fields:
            continue
        inner = [each for each in _models(fields[key].annotation) if isinstance(each, type)]
        for each in value if isinstance(value, list) else [value]:
            if inner and isinstance(each, dict):
                found += unknown(each, inner[0], f"{path}{key}.")
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for inner in getattr(annotation, "__args__", ()) for each in _models(inner)]


@pytest.mark.parametrize("profile", ["", *profiles("manta-serve")])
def test_the_configuration_of_every_profile_is_strictly_valid(charts: Charts, profile: str) -> None:
    values = profiles("manta-serve")[profile] if profile else {}
    config = serve_config(charts, values)
    assert unknown(config, ServeDeploySchema) == []
    deployed = ServeDeploySchema.model_validate(config)
    (application,) = deployed.applications
    assert (application.name, application.import_path) == (NAME, "serving.app:build")
    assert [each.name for each in application.deployments] in ([], [DEPLOYMENT])
    # The arguments go the way that serving.app:build takes them.
    endpoint = load(ServeConfig, list(words(application.args))).config
    given = values.get("endpoint", {"bundle": "runs/digits/bundle"})
    assert endpoint.bundle == given.get("bundle", "runs/digits/bundle")
    for key, value in given.get("serve", {}).items():
        assert getattr(endpoint.serve, key) == value


def test_what_ray_ignores_is_found() -> None:
    config = {
        "http_option": {},
        "applications": [{"import_path": "a:b", "deployments": [{"name": "x", "num_replica": 2}]}],
    }
    ServeDeploySchema.model_validate(config)
    assert unknown(config, ServeDeploySchema) == ["http_option", "applications.deployments.num_replica"]


def test_where_it_listens_is_an_option_of_serve(charts: Charts) -> None:
    values: Object = {"endpoint": {"bundle": "b", "http": {"port": 9000}, "grpc": {"port": 9001}}}
    spec = only(charts.render("manta-serve", values), "RayService")["spec"]
    config = yaml.safe_load(spec["serveConfigV2"])
    assert config["http_options"] == {"host": "0.0.0.0", "port": 9000}
    assert config["grpc_options"] == {
        "port": 9001,
        "grpc_servicer_functions": [SERVICER],
        "enable_reflection": False,
    }
    assert config["applications"][0]["args"] == {"bundle": "b"}
    cluster = spec["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        ports = {p["name"]: p["containerPort"] for p in group["template"]["spec"]["containers"][0]["ports"]}
        assert (ports["serve"], ports["serve-grpc"]) == (9000, 9001)
    ready = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert ready["httpGet"] == {"path": "/-/healthz", "port": 9000}
    service = {each["name"]: each["targetPort"] for each in spec["serveService"]["spec"]["ports"]}
    assert service == {"serve": 9000, "serve-grpc": 9001}
    policy = only(charts.render("manta-serve", values), "NetworkPolicy")["spec"]["ingress"]
    assert {"port": 9000} in policy[1]["ports"]


def test_whole_numbers_stay_whole(charts: Charts) -> None:
    values: Object = {
        "endpoint": {"limits": {"max_pixels": 50_000_000}, "serve": {"request_timeout_s": 12.5}}
    }
    args = serve_config(charts, values)["applications"][0]["args"]
    assert args["limits"]["max_pixels"] == 50_000_000
    assert isinstance(args["limits"]["max_pixels"], int)
    assert load(ServeConfig, list(words(args))).config.serve.request_timeout_s == 12.5


def test_a_pod_lives_until_what_it_admitted_has_ended(charts: Charts) -> None:
    values: Object = {"endpoint": {"serve": {"request_timeout_s": 100.2}}, "proxy": {"drainSeconds": 20}}
    spec = only(charts.render("manta-serve", values), "RayService")["spec"]["rayClusterConfig"]
    pod = spec["workerGroupSpecs"][0]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 101 + 5 + 20 + 10
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "20"]


def test_replicas_on_nodes_of_their_own(charts: Charts) -> None:
    values: Object = {"oneReplicaPerNode": True}
    (application,) = serve_config(charts, values)["applications"]
    assert application["deployments"] == [{"name": DEPLOYMENT, "max_replicas_per_node": 1}]


def environment(charts: Charts, values: Object) -> dict[str, Object]:
    spec = only(charts.render("manta-serve", values), "RayService")["spec"]["rayClusterConfig"]
    return {each["name"]: each for each in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]}


def test_tokens_come_from_a_secret(charts: Charts) -> None:
    token = environment(charts, {})["MANTA_TOKENS"]
    secret = only(charts.render("manta-serve"), "Secret")
    wanted = {"name": secret["metadata"]["name"], "key": "tokens"}
    assert token["valueFrom"]["secretKeyRef"] == wanted
    assert len(secret["data"]["tokens"]) == 64

    given: Object = {"tokens": {"secretName": "mine", "key": "t.txt"}}
    assert environment(charts, given)["MANTA_TOKENS"]["valueFrom"]["secretKeyRef"] == {
        "name": "mine",
        "key": "t.txt",
    }
    assert not [each for each in charts.render("manta-serve", given) if each["kind"] == "Secret"]
    assert "MANTA_TOKENS" not in environment(charts, {"tokens": {"enabled": False}})


def test_the_fast_proxy_can_be_left_out(charts: Charts) -> None:
    assert environment(charts, {})["RAY_SERVE_ENABLE_HA_PROXY"]["value"] == "1"
    assert "RAY_SERVE_ENABLE_HA_PROXY" not in environment(charts, {"proxy": {"haproxy": False}})
