"""The words of `serve run` and the arguments of a Serve config file: one configuration, the same errors."""

from pathlib import Path
from typing import Any

import pytest

from lib.bundle import read_bundle
from lib.config.rollout import Rollout
from lib.config.serving import ServeConfig
from lib.errors import UserError
from serving.app import DEPLOYMENT, application, build
from serving.rollout import read_rollout


def options(app: Any) -> Any:
    return app._bound_deployment


def test_flat_words_and_nested_arguments_are_the_same(bundle_path: Path) -> None:
    bundle = str(bundle_path)
    flat = build({"bundle": bundle, "serve.max_batch_size": "4", "limits.max_body_mb": "2.5"})
    nested = build({"bundle": bundle, "serve": {"max_batch_size": 4}, "limits": {"max_body_mb": 2.5}})
    assert options(flat).init_args == options(nested).init_args
    assert options(flat).init_args[0].serve.max_batch_size == 4
    assert options(flat).name == DEPLOYMENT


def test_mistakes_are_told_all_at_once() -> None:
    with pytest.raises(UserError) as caught:
        build({"bundle": "b", "serve.max_bach_size": "4", "limits.max_pixels": "many"})
    assert "did you mean serve.max_batch_size?" in str(caught.value)
    assert "limits.max_pixels" in str(caught.value)


def test_an_address_that_has_no_effect_is_told(bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build({"bundle": str(bundle_path)})
    assert "http" not in capsys.readouterr().out
    build({"bundle": str(bundle_path), "http.port": "9000"})
    assert "no effect" in capsys.readouterr().out


def test_scale_and_resources(bundle_path: Path) -> None:
    config = {"bundle": str(bundle_path), "serve": {"threads": 2, "max_queued": 10, "max_replicas": 1}}
    fixed = options(application(ServeConfig.model_validate(config)))
    assert fixed.num_replicas == 1
    assert fixed.ray_actor_options["num_cpus"] == 2
    assert fixed.max_ongoing_requests > 10 + 8
    config["serve"] = {"min_replicas": 1, "max_replicas": 3}
    scaled = options(application(ServeConfig.model_validate(config)))
    assert scaled._deployment_config.autoscaling_config.max_replicas == 3


def test_what_is_checked_before_a_replica_starts(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"auth\.token_file"):
        build({"bundle": str(bundle_path), "auth.token_file": str(tmp_path / "none")})
    with pytest.raises(UserError, match=r"grpc\.port=8000 is http\.port too"):
        build({"bundle": str(bundle_path), "grpc.port": "8000"})
    monkeypatch.setenv("MANTA_TOKENS", "s3cret")
    monkeypatch.chdir(tmp_path)
    bound = options(build({"bundle": str(bundle_path), "log.access_dir": "logs", "limits.max_body_mb": "3"}))
    config, tokens, members = bound.init_args
    assert members == {}
    assert config.log.access_dir == str(tmp_path / "logs")
    assert tokens.holder("Bearer s3cret")
    limit = bound.ray_actor_options["runtime_env"]["env_vars"]["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"]
    assert int(limit) == 4_000_000


def test_from_zero_and_with_a_surge(bundle_path: Path) -> None:
    scale = {"min_replicas": 0, "max_replicas": 2, "scale_window_s": 3, "surge_fraction": 0.5}
    config = ServeConfig.model_validate({"bundle": str(bundle_path), "serve": scale})
    deployed = options(application(config, initial_replicas=1))._deployment_config
    scaling = deployed.autoscaling_config
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (0, 1, 2)
    assert (scaling.look_back_period_s, scaling.metrics_interval_s) == (3, 1)
    assert deployed.max_surge_percent == 50
    assert deployed.backpressure_config.status_code == 429
    assert options(application(config))._deployment_config.autoscaling_config.initial_replicas is None


def test_the_versions_are_the_user_config_and_the_code_stays_the_same(bundle_path: Path) -> None:
    config = ServeConfig(bundle=str(bundle_path))
    rollout = Rollout.model_validate({"candidates": [{"bundle": "b", "weight": 0.1}]})
    deployed = options(application(config, rollout, code_version="1"))
    assert read_rollout(deployed._deployment_config.user_config) == rollout
    assert deployed._version == "1"
    assert read_rollout(options(application(config))._deployment_config.user_config) == Rollout()
    with pytest.raises(UserError, match="user_config of the deployment Gateway"):
        build({"bundle": str(bundle_path), "rollout.file": "rollout.yaml"})


def test_split_members_are_deployments_with_the_cores_and_the_gateway_has_one(bundle_path: Path) -> None:
    serve = {"placement": "split", "threads": 4, "use_gpu": True, "max_replicas": 2}
    gateway = options(application(ServeConfig.model_validate({"bundle": str(bundle_path), "serve": serve})))
    version = read_bundle(bundle_path).version
    ((found, bound),) = gateway.init_args[2].items()
    member = options(bound)
    assert (found, member.name) == (version, f"Member-{version}")
    assert (member.ray_actor_options["num_cpus"], member.ray_actor_options["num_gpus"]) == (4, 1)
    assert (gateway.ray_actor_options["num_cpus"], gateway.ray_actor_options["num_gpus"]) == (1, 0)
    assert member._deployment_config.autoscaling_config.max_replicas == 2
