"""What the launcher decides before anything starts."""

import re
import socket
from pathlib import Path

import pytest
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from lib.config.serving import ServeConfig
from lib.errors import UserError
from lib.ports import free_ports
from serving.listen import answers, check_host, check_port, exposure, listens
from serving.proxy import fast_environment, only_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_is_fine(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_not_let_in_without_tokens(host: str) -> None:
    with pytest.raises(UserError, match="other machines"):
        check_host(host)


def test_what_is_said_about_who_may_come_in() -> None:
    config = ServeConfig.model_validate({"bundle": "b", "grpc": {"port": 8001}})
    assert exposure(config, has_tokens=True) == "gRPC at 127.0.0.1:8001; asks for a token"
    assert "without a token" in exposure(ServeConfig(bundle="b"), has_tokens=False)


def test_a_port_that_is_in_use() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert listens("127.0.0.1", port)
        with pytest.raises(UserError, match=f"http.port={port}"):
            check_port("127.0.0.1", port)
        with pytest.raises(UserError, match=r"another grpc\.port"):
            check_port("127.0.0.1", port, "grpc.port")
    check_port("127.0.0.1", port)
    assert not answers("127.0.0.1", port, "/")
    assert not listens("127.0.0.1", port)


def test_haproxy_listens_on_loopback_only() -> None:
    config = "frontend a\n    bind :9101\nfrontend b\n    bind 127.0.0.1:8000\nlisten stats\n  bind *:8404\n"
    assert re.findall(r"bind (\S+)", only_loopback(config)) == [
        "127.0.0.1:9101",
        "127.0.0.1:8000",
        "127.0.0.1:8404",
    ]
    asked_for = "frontend b\n    bind 0.0.0.0:8000\n"
    assert only_loopback(asked_for) == asked_for


def test_rays_own_template_has_no_other_kind_of_open_port() -> None:
    template = HAPROXY_CONFIG_TEMPLATE.replace("{{ config.metrics_port }}", "1").replace(
        "{{ config.stats_port }}", "2"
    )
    hosts = re.findall(r"^\s*bind (.*):", only_loopback(template), re.MULTILINE)
    assert set(hosts) == {"127.0.0.1", "{{ config.frontend_host }}", "{{ config.grpc_frontend_host }}"}


def test_settings_of_the_user_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", "1234")
    values = fast_environment(tmp_path, free_ports(4))
    assert values["RAY_SERVE_HAPROXY_STATS_PORT"] == "1234"
    assert values["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    assert fast_environment(tmp_path, free_ports(4)) == {}
