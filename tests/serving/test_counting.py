"""What a replica counts, request by request; the way to Prometheus is in test_metrics.py."""

import asyncio
import base64
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from lib.bundle import read_bundle
from lib.config.rollout import Rollout
from lib.track.drift import CONFIDENCE
from lib.track.tally import Counted
from serving.counting import facts_of, set_gauges
from serving.gateway import Gateway

Picture = Callable[..., bytes]
Connect = Callable[[Gateway], httpx.AsyncClient]
Start = Callable[..., Gateway]
Send = Callable[..., httpx.Response]


def by_labels(counted: Counted, name: str) -> dict[tuple[str, ...], float]:
    return {labels: value for (each, labels), value in counted.counts.items() if each == name}


def values(counted: Counted, name: str) -> dict[tuple[str, ...], float]:
    """How many values a histogram got."""
    return {labels: sum(bins[:-1]) for (each, labels), bins in counted.bins.items() if each == name}


def test_requests_by_route_and_code(gateway: Gateway, send: Send, picture: Picture) -> None:
    model = f"/v2/models/{gateway.name.name}"
    asked = [
        ("POST", "/predict", {"content": picture()}),
        ("POST", "/predict", {"content": picture()}),
        ("POST", "/predict", {"content": b"no picture"}),
        ("POST", "/predict", {"content": b""}),
        ("POST", "/predict", {"content": picture(), "params": {"top_k": 0}}),
        ("POST", "/predict", {"content": picture(0, 600, 600)}),
        ("GET", "/predict", {}),
        ("GET", "/model", {}),
        ("GET", "/nothing", {}),
        ("GET", "/neither", {}),
        ("GET", model, {}),
        ("GET", f"{model}/ready", {}),
        ("GET", f"{model}x", {}),
        ("GET", "/v2/health/live", {}),
        ("GET", "/", {}),
    ]
    answered = [send(method, path, **more).status_code for method, path, more in asked]
    counted = gateway.tally.take()
    found = by_labels(counted, "requests")
    assert Counter(map(str, answered)) == sum(
        (Counter({code: int(n)}) for (_, code), n in found.items()), Counter()
    )
    assert found["/predict", "200"] == 2
    assert found["/predict", "415"] == found["/predict", "400"] == found["/predict", "405"] == 1
    assert found["other", "404"] == 2
    assert found["/v2/models/{name}", "200"] == found["/v2/models/{name}", "404"] == 1
    assert found["/v2/health/live", "200"] == found["/model", "200"] == found["/", "200"] == 1
    assert sum(values(counted, "request_seconds").values()) == len(asked)


def test_a_client_that_leaves_is_499(start: Start, connect: Connect, picture: Picture) -> None:
    gateway = start()

    async def run() -> None:
        async with connect(gateway) as client:
            task = asyncio.create_task(client.post("/predict", content=picture()))
            while not gateway.places[0]:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert by_labels(gateway.tally.take(), "requests") == {("/predict", "499"): 1}


def test_images_of_a_bundle(gateway: Gateway, send: Send, picture: Picture) -> None:
    files = [("file", picture(seed)) for seed in range(3)]
    answers = [send("POST", "/predict", content=picture(7)).json()]
    answers += send("POST", "/predict", files=files).json()
    data = [base64.b64encode(picture(9)).decode()]
    body = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": data}]}
    labels = send("POST", f"/v2/models/{gateway.name.name}/infer", json=body).json()["outputs"][1]["data"]
    counted = gateway.tally.take()
    version = gateway.name.version
    assert by_labels(counted, "images") == {(version,): 5}
    assert by_labels(counted, "images_by_members") == {(version, "1"): 5}
    predicted = Counter([*(each["predictions"][0]["label"] for each in answers), *labels])
    assert by_labels(counted, "predicted") == {(version, label): n for label, n in predicted.items()}
    assert values(counted, "confidence") == {(version,): 5}
    assert values(counted, "stage_seconds") == {
        (stage,): 5 for stage in ("decode", "queue", "forward", "combine")
    }
    assert by_labels(counted, "version_requests") == {(version, "stable", "ok"): 3}
    # A bundle does not know what it costs.
    assert by_labels(counted, "cost_seconds") == {}
    bins = counted.bins["batch_size", ()]
    assert sum(bins[:-1]) <= 5
    assert bins[-1] == 5


def test_members_and_cost_of_a_cascade(
    start: Start, connect: Connect, ensemble_path: Path, digits_bundle: Path
) -> None:
    gateway = start(bundle=str(ensemble_path))
    image = read_bundle(digits_bundle).golden().data

    async def run() -> list[int]:
        async with connect(gateway) as client:
            alone = await client.post("/predict", content=image)
            forced = await client.post("/predict?views=none", content=image)
            return [each.json()["members_used"] for each in (alone, forced)]

    used = asyncio.run(run())
    counted, version = gateway.tally.take(), gateway.name.version
    assert by_labels(counted, "images_by_members") == {
        (version, str(members)): n for members, n in Counter(used).items()
    }
    cost = by_labels(counted, "cost_seconds")
    manifest = gateway.bundle.manifest
    each_s = sum(entry.cost for entry in manifest.members) / 1000
    # Three rotations and one plain view; the plain one has no cascade and so asks everybody.
    assert cost[version, "full"] == pytest.approx(3 * each_s + each_s)
    assert each_s < cost[version, "spent"] <= cost[version, "full"] + 1e-9


def test_a_candidate_and_the_stable_version_apart(
    start: Start, connect: Connect, digits_bundle: Path, second_bundle: Path, wrong_bundle: Path
) -> None:
    gateway = start(bundle=str(digits_bundle))
    image = read_bundle(digits_bundle).golden().data
    stable, canary = read_bundle(digits_bundle).version, read_bundle(second_bundle).version
    candidate = {"bundle": str(second_bundle), "weight": 1.0, "shadow": 0}

    async def run() -> Any:
        await gateway.change(Rollout.model_validate({"candidates": [candidate]}))
        async with connect(gateway) as client:
            await client.post("/predict", content=image, headers={"X-Request-Id": "1"})
        set_gauges(gateway.tally, gateway)
        during = gateway.tally.take()
        await gateway.change(Rollout(bundle=str(second_bundle)))
        set_gauges(gateway.tally, gateway)
        return during, gateway.tally.take()

    during, after = asyncio.run(run())
    assert by_labels(during, "version_requests") == {(canary, "canary", "ok"): 1}
    assert by_labels(during, "images") == {(canary,): 1}
    assert during.gauges["version_share", (canary, "canary")] == 1
    assert during.gauges["version_share", (stable, "stable")] == 0
    shares = {key[1]: value for key, value in after.gauges.items() if key[0] == "version_share"}
    assert shares == {(canary, "stable"): 1}


def test_how_a_replica_stands(gateway: Gateway, wrong_bundle: Path, surer_bundle: Path) -> None:
    rollout = {"candidates": [{"bundle": str(surer_bundle), "weight": 0, "shadow": 0.5}]}
    asyncio.run(gateway.change(Rollout.model_validate(rollout)))
    set_gauges(gateway.tally, gateway)
    found = gateway.tally.take().gauges
    surer = read_bundle(surer_bundle).version
    assert found["ready", ()] == 1
    assert (found["admitted", ()], found["capacity", ()]) == (0, 72)
    assert found["golden_check", (gateway.name.version,)] == found["golden_check", (surer,)] == 1
    assert found["version_share", (surer, "shadow")] == 0.5
    rollout = {"candidates": [{"bundle": str(wrong_bundle), "weight": 0.1}]}
    asyncio.run(gateway.change(Rollout.model_validate(rollout)))
    set_gauges(gateway.tally, gateway)
    counted = gateway.tally.take()
    assert counted.gauges["golden_check", (read_bundle(wrong_bundle).version,)] == 0
    assert ("version_share", (surer, "shadow")) not in counted.gauges
    assert by_labels(counted, "version_refusals") == {(): 1}


def test_what_a_ledger_has_to_know(start: Start, digits_bundle: Path, bundle_path: Path) -> None:
    with_baseline, without = start(bundle=str(digits_bundle)), start(bundle=str(bundle_path))
    facts = facts_of(with_baseline)[read_bundle(digits_bundle).version]
    assert facts.baseline is not None
    assert facts.baseline.bounds == list(CONFIDENCE)
    assert sum(facts.baseline.confidence) == sum(facts.baseline.classes) == facts.baseline.num_samples == 179
    assert [each.baseline for each in facts_of(without).values()] == [None]
    card = with_baseline.card()
    assert card.baseline is not None
    assert (card.baseline.split, card.baseline.num_samples) == ("val", 179)
    assert without.card().baseline is None


def test_an_endpoint_without_metrics(start: Start, connect: Connect, picture: Picture) -> None:
    gateway = start(serve={"metrics": False})

    async def run() -> int:
        async with connect(gateway) as client:
            return (await client.post("/predict", content=picture())).status_code

    assert asyncio.run(run()) == 200
    set_gauges(gateway.tally, gateway)
    assert gateway.tally.take() == Counted()
