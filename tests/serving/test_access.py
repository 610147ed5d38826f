"""Request ids and the access log."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from lib.config.serving import AuthSection
from lib.errors import RunError
from serving.access import Door
from serving.accesslog import AccessLog
from serving.auth import read_tokens
from serving.gateway import Gateway
from serving.routes import create_app

Picture = Callable[..., bytes]
Send = Callable[..., httpx.Response]


def test_request_ids_come_back_or_are_given(send: Send, picture: Picture) -> None:
    named = send("POST", "/predict", content=picture(), headers={"X-Request-Id": "abc-1"})
    assert named.headers["x-request-id"] == "abc-1"
    ids = {send("GET", path).headers["x-request-id"] for path in ("/model", "/nothing")}
    assert len(ids) == 2


def test_a_line_for_each_request(
    gateway: Gateway, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTA_TOKENS", "s3cret")
    log = AccessLog(tmp_path / "logs")
    door = Door(read_tokens(AuthSection()), log)
    app = create_app(lambda: gateway, lambda: door)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://endpoint")

    async def run() -> None:
        right = {"Authorization": "Bearer s3cret", "X-Request-Id": 'quoted"\u00e9'.encode("latin-1")}
        await client.post("/predict", content=picture(), headers=right)
        await client.post("/predict?secret=1", content=b"<html>", headers={"Authorization": "Bearer guess"})

    asyncio.run(run())
    log.close()
    text = log.path.read_text()
    first, second = map(json.loads, text.splitlines())
    assert first["request_id"] == 'quoted"\u00e9'
    assert (first["method"], first["path"], first["status"]) == ("POST", "/predict", 200)
    assert first["received_bytes"] == len(picture())
    assert first["sent_bytes"] > 100
    assert first["duration_ms"] > 0
    assert len(first["token"]) == 8
    assert (second["status"], second["token"]) == (401, "")
    assert "guess" not in text
    assert "s3cret" not in text


def test_a_full_queue_loses_lines_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.accesslog._WAITING", 2)
    log = AccessLog(tmp_path)
    log._listener.stop()  # the disk hangs
    for number in range(5):
        log.write(number=number)
    log._listener.start()
    log._queue.join()
    log.write(number=5)
    log.close()
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["number"] for line in lines] == [0, 1, 5]
    assert lines[2]["lines_lost_before"] == 3


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"log\.access_dir="):
        AccessLog(tmp_path / "file" / "logs")
