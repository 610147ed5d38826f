"""Tokens: where they come from, and who is let in."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from lib.config.serving import AuthSection
from lib.errors import UserError
from serving.access import Door
from serving.auth import VARIABLE, Tokens, read_tokens
from serving.gateway import Gateway
from serving.routes import create_app

Picture = Callable[..., bytes]


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    file = tmp_path / "tokens"
    file.write_text("first-token\n\n  second-token \n")
    return read_tokens(AuthSection(token_file=str(file)))


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_every_token_of_the_file_is_let_in(tokens: Tokens) -> None:
    first = tokens.holder("Bearer first-token")
    assert first
    assert len(first) == 8
    assert tokens.holder("bearer second-token") not in (None, first)
    assert tokens.holder(basic("anybody:first-token")) == first
    assert "first" not in repr(tokens)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer first", "Bearer first-token2", "first-token", "Digest first-token",
     "Basic first-token", "Basic", basic("first-token:"), basic("first-token"), "Bearer \xff"],
)  # fmt: skip
def test_nobody_else(tokens: Tokens, header: str) -> None:
    assert tokens.holder(header) is None


def test_tokens_of_the_environment(monkeypatch: pytest.MonkeyPatch, tokens: Tokens, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "third-token\nfirst-token")
    assert read_tokens(AuthSection()).holder("Bearer third-token")
    both = read_tokens(AuthSection(token_file=str(tmp_path / "tokens")))
    assert len(both.digests) == 3
    monkeypatch.setenv(VARIABLE, " ")
    with pytest.raises(UserError, match="MANTA_TOKENS holds no token"):
        read_tokens(AuthSection())


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"", "holds no token"), (b"\n \n", "holds no token"), (b"a\nb c\n", "token 2"),
     (b"\xff\xfe", "not text"), ("tökén".encode(), "token 1")],
)  # fmt: skip
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_tokens(AuthSection(token_file=str(file)))


def test_no_token_is_an_open_endpoint() -> None:
    assert not read_tokens(AuthSection())
    assert read_tokens(AuthSection()).holder("Bearer ") is None


def test_every_route_but_health_asks_for_a_token(gateway: Gateway, tokens: Tokens, picture: Picture) -> None:
    app = create_app(lambda: gateway, lambda: Door(tokens))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://endpoint")
    right = {"Authorization": "Bearer second-token"}

    async def run() -> None:
        routes = [(method, path) for path, item in app.openapi()["paths"].items() for method in item]
        extra = [("get", "/"), ("get", "/docs"), ("get", "/openapi.json"), ("get", "/nothing")]
        assert len(routes) > 8
        for method, path in [*routes, *extra]:
            response = await client.request(method, path)
            if path in ("/v2/health/live", "/v2/health/ready"):
                assert response.status_code == 200
                continue
            assert response.status_code == 401, path
            assert response.json() == {
                "error": "this endpoint asks for a token",
                "hint": "send the header Authorization: Bearer TOKEN",
            }
            assert "Bearer" in response.headers["www-authenticate"]
        wrong = await client.post("/predict", content=picture(), headers={"Authorization": "Bearer guess"})
        assert (wrong.status_code, wrong.json()["error"]) == (401, "the token is not known here")
        assert "guess" not in wrong.text
        assert (await client.post("/predict", content=picture(), headers=right)).status_code == 200
        assert (await client.get("/model", auth=("me", "first-token"))).status_code == 200

    asyncio.run(run())
