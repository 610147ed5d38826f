"""Several versions in one replica: who answers, who is compared, who is taken out."""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lib.bundle import read_bundle
from lib.config.rollout import Rollout
from lib.errors import RunError
from serving.gateway import Gateway
from serving.lineup import share_of
from serving.rule import Counts

Picture = Callable[..., bytes]
Connect = Callable[[Gateway], httpx.AsyncClient]
Start = Callable[..., Gateway]


@pytest.fixture
def serving(start: Start, digits_bundle: Path) -> Gateway:
    return start(bundle=str(digits_bundle))


@pytest.fixture
def picture(digits_bundle: Path) -> bytes:
    return read_bundle(digits_bundle).golden().data


def rollout_of(*candidates: tuple[Path | str, float, float], **more: Any) -> Rollout:
    listed = [
        {"bundle": str(path), "weight": weight, "shadow": shadow} for path, weight, shadow in candidates
    ]
    return Rollout.model_validate({"candidates": listed, **more})


def version(path: Path) -> str:
    return read_bundle(path).version


def ids_below(share: float, count: int) -> list[str]:
    found = (str(number) for number in range(10_000))
    return [each for each in found if share_of(each) < share][:count]


@asynccontextmanager
async def asking(gateway: Gateway, connect: Connect) -> AsyncIterator[Callable[..., Any]]:
    async with connect(gateway) as client:

        async def ask(data: bytes, request_id: str = "", path: str = "/predict") -> Any:
            headers = {"X-Request-Id": request_id} if request_id else {}
            response = await client.post(path, content=data, headers=headers)
            assert response.status_code == 200, response.text
            return response.json()

        yield ask


def test_a_canary_gets_its_share_and_a_retry_meets_the_same_version(
    serving: Gateway, connect: Connect, picture: bytes, second_bundle: Path, digits_bundle: Path
) -> None:
    async def run() -> list[list[str]]:
        await serving.change(rollout_of((second_bundle, 0.25, 0)))
        async with asking(serving, connect) as ask:
            return [
                [(await ask(picture, str(number)))["model"]["version"] for number in range(200)]
                for _ in range(2)
            ]

    first, again = asyncio.run(run())
    assert first == again
    assert set(first) == {version(digits_bundle), version(second_bundle)}
    assert 25 <= first.count(version(second_bundle)) <= 75
    card = serving.card()
    assert [(each.version, each.weight) for each in card.versions] == [
        (version(digits_bundle), 0.75),
        (version(second_bundle), 0.25),
    ]
    assert card.name == serving.name.name


def test_a_larger_weight_keeps_those_who_met_the_canary(
    serving: Gateway, second_bundle: Path, poor_bundle: Path
) -> None:
    asyncio.run(serving.change(rollout_of((second_bundle, 0.1, 0))))
    ids = [str(number) for number in range(500)]
    small = [each for each in ids if serving.lineup.choose(each) is not serving.stable]
    asyncio.run(serving.change(rollout_of((second_bundle, 0.5, 0))))
    assert all(serving.lineup.choose(each) is not serving.stable for each in small)
    assert len(small) > 20


def test_a_version_may_be_asked_for_by_name(
    serving: Gateway, connect: Connect, picture: bytes, second_bundle: Path, digits_bundle: Path
) -> None:
    async def run() -> tuple[Any, ...]:
        await serving.change(rollout_of((second_bundle, 0, 0.1)))
        async with connect(serving) as client:
            data = [base64.b64encode(picture).decode()]
            body = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": data}]}
            model = f"/v2/models/{serving.name.name}"
            pinned = await client.post(f"{model}/versions/{version(second_bundle)}/infer", json=body)
            plain = await client.post(f"{model}/infer", json=body)
            metadata = await client.get(model)
            unknown = await client.get(f"{model}/versions/nothing")
            return pinned.json(), plain.json(), metadata.json(), unknown.status_code

    pinned, plain, metadata, unknown = asyncio.run(run())
    assert pinned["model_version"] == version(second_bundle)
    assert plain["model_version"] == version(digits_bundle)
    assert metadata["versions"] == [version(digits_bundle), version(second_bundle)]
    assert unknown == 404


def test_a_candidate_that_fails_costs_no_answer(
    serving: Gateway, connect: Connect, picture: bytes, second_bundle: Path, digits_bundle: Path
) -> None:
    async def run() -> list[str]:
        await serving.change(rollout_of((second_bundle, 1, 0)))
        candidate = serving.lineup.candidates[0].version

        def broken(*_: Any) -> Any:
            raise RuntimeError("a broken network")

        candidate._member._forward = broken
        async with asking(serving, connect) as ask:
            return [(await ask(picture, str(number)))["model"]["version"] for number in range(5)]

    assert set(asyncio.run(run())) == {version(digits_bundle)}
    assert serving._trial.counts == {version(second_bundle): Counts(requests=5, errors=5)}


def test_a_candidate_that_hangs_costs_half_the_time(
    start: Start, connect: Connect, picture: bytes, second_bundle: Path, digits_bundle: Path
) -> None:
    serving = start(bundle=str(digits_bundle), serve={"request_timeout_s": 1.0})

    async def run() -> str:
        await serving.change(rollout_of((second_bundle, 1, 0)))
        candidate = serving.lineup.candidates[0].version

        async def never(*_: Any, **__: Any) -> Any:
            await asyncio.sleep(60)

        candidate._member.run = never  # type: ignore[method-assign]
        async with asking(serving, connect) as ask:
            answer: str = (await ask(picture, "1"))["model"]["version"]
            return answer

    assert asyncio.run(run()) == version(digits_bundle)
    assert serving._trial.counts[version(second_bundle)] == Counts(requests=1, errors=1)


async def compared(serving: Gateway, count: int) -> Counts:
    """Wait until so many comparisons are done."""
    (candidate,) = serving._trial.counts
    while serving._trial.counts[candidate].compared < count:
        await asyncio.sleep(0.01)
    return serving._trial.counts[candidate]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_shadows_are_compared_whoever_answers(
    serving: Gateway, connect: Connect, picture: bytes, second_bundle: Path, poor_bundle: Path, weight: float
) -> None:
    async def run(path: Path) -> Counts:
        await serving.change(rollout_of((path, weight, 1)))
        async with asking(serving, connect) as ask:
            for number in range(5):
                await ask(picture, str(number))
            return await compared(serving, 5)

    assert asyncio.run(run(second_bundle)) == Counts(requests=5, compared=5)
    assert asyncio.run(run(poor_bundle)) == Counts(requests=5, compared=5, disagreed=5)


def test_shadows_never_wait_in_a_row(
    serving: Gateway, connect: Connect, picture: bytes, second_bundle: Path
) -> None:
    most = serving.config.serve.max_batch_size

    async def run() -> int:
        await serving.change(rollout_of((second_bundle, 0, 1)))
        candidate = serving.lineup.candidates[0].version
        go = asyncio.Event()

        async def wait(*_: Any, **__: Any) -> Any:
            await go.wait()

        candidate._member.run = wait  # type: ignore[method-assign]
        async with asking(serving, connect) as ask:
            for number in range(most + 3):
                await ask(picture, str(number))
        under_way = len(serving._trial._comparisons)
        serving._trial.close()
        return under_way

    assert asyncio.run(run()) == most


def test_a_bad_candidate_is_taken_out_and_stays_out(
    serving: Gateway,
    connect: Connect,
    picture: bytes,
    poor_bundle: Path,
    digits_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.watch.WATCH_S", 0.01)
    rule = {"min_requests": 10, "max_disagreement": 0.3}

    async def run() -> list[str]:
        await serving.change(rollout_of((poor_bundle, 0.5, 1), rollback=rule))
        poor = serving.lineup.candidates[0].version
        async with asking(serving, connect) as ask:
            number = 0
            while serving.lineup.candidates:
                await ask(picture, str(number))
                number += 1
            after = [(await ask(picture, str(each)))["model"]["version"] for each in range(20)]
        while serving._background and not poor._member._thread._shutdown:
            await asyncio.sleep(0.01)
        # A change of rank brings the same rollout again.
        await serving.change(rollout_of((poor_bundle, 0.5, 1), rollback=rule))
        return after

    assert set(asyncio.run(run())) == {version(digits_bundle)}
    ((what, why),) = serving.lineup.refused
    assert what == version(poor_bundle)
    assert "rollback.max_disagreement=0.3" in why


def test_what_other_replicas_found_counts(
    start: Start, digits_bundle: Path, second_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.watch.WATCH_S", 0.01)
    serving = start(bundle=str(digits_bundle))

    async def share(_: Rollout, counts: Any, taken_out: Any) -> Any:
        return {each: Counts(requests=1000, errors=900) for each in counts}, dict(taken_out)

    serving._share = share

    async def run() -> None:
        await serving.change(rollout_of((second_bundle, 0.5, 0), rollback={}))
        while serving.lineup.candidates:
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert "900 of 1000 requests failed" in serving.lineup.refused[0][1]


def test_candidates_that_cannot_be_served_are_named_and_the_rest_goes_on(
    serving: Gateway, second_bundle: Path, reversed_bundle: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(second_bundle, changed)
    (changed / "model.safetensors").write_bytes(b"nothing")
    listed = [
        ("/nowhere", 0.1, 0),
        (second_bundle, 0.1, 0),
        (reversed_bundle, 0.1, 0),
        (changed, 0.1, 0),
        (digits_bundle, 0.1, 0),
    ]
    asyncio.run(serving.change(rollout_of(*listed)))
    assert [each.id for each in serving.lineup.candidates] == [version(second_bundle)]
    reasons = dict(serving.lineup.refused)
    assert "no such folder" in reasons["/nowhere"]
    assert "other classes" in reasons[str(reversed_bundle)]
    assert "has changed" in reasons[str(changed)]
    assert "is the same as" in reasons[str(digits_bundle)]


def test_a_stable_version_that_cannot_be_served_changes_nothing(
    serving: Gateway,
    connect: Connect,
    picture: bytes,
    second_bundle: Path,
    wrong_bundle: Path,
    digits_bundle: Path,
) -> None:
    async def run() -> str:
        await serving.change(rollout_of((second_bundle, 0.1, 0)))
        await serving.change(Rollout(bundle=str(wrong_bundle)))
        async with asking(serving, connect) as ask:
            answer: str = (await ask(picture, ids_below(0.1, 1)[0]))["model"]["version"]
            return answer

    assert asyncio.run(run()) == version(second_bundle)
    assert serving.bundle.version == version(digits_bundle)
    assert "golden check failed" in dict(serving.lineup.refused)[str(wrong_bundle)]


def test_the_stable_version_is_replaced_under_way(
    serving: Gateway, connect: Connect, picture: bytes, second_bundle: Path, digits_bundle: Path
) -> None:
    async def run() -> set[str]:
        found: list[str] = []
        async with asking(serving, connect) as ask:
            ends = asyncio.Event()

            async def drive() -> None:
                while not ends.is_set():
                    found.append((await ask(picture))["model"]["version"])

            before = serving.stable
            tasks = [asyncio.create_task(drive()) for _ in range(8)]
            await asyncio.sleep(0.2)
            await serving.change(Rollout(bundle=str(second_bundle)))
            while not before._member._thread._shutdown:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            ends.set()
            await asyncio.gather(*tasks)
        return set(found)

    assert asyncio.run(run()) == {version(digits_bundle), version(second_bundle)}
    assert serving.name.name == "small"  # clients of /v2 know the endpoint by it


def test_a_replica_does_not_start_without_its_stable_version(start: Start, wrong_bundle: Path) -> None:
    with pytest.raises(RunError, match="golden check failed"):
        start(bundle=str(wrong_bundle))
