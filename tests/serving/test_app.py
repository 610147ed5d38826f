"""The words of `serve run` and the arguments of a Serve config file: one configuration, the same errors."""

from pathlib import Path
from typing import Any

import pytest

from lib.config.serving import ServeConfig
from lib.errors import UserError
from serving.app import DEPLOYMENT, application, build


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
    config, tokens = bound.init_args
    assert config.log.access_dir == str(tmp_path / "logs")
    assert tokens.holder("Bearer s3cret")
    limit = bound.ray_actor_options["runtime_env"]["env_vars"]["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"]
    assert int(limit) == 4_000_000
