import math

import prometheus_client as prometheus
import pytest

from lib.track.metric import Metric
from lib.track.registry import Registry
from lib.track.scrape import Snapshot, snapshot
from lib.track.serving_metrics import SERVING
from lib.track.status import quantile, status
from lib.track.training_metrics import TRAINING


def look(*registries: Registry, at: float) -> Snapshot:
    return snapshot([prometheus.generate_latest(each.metrics).decode() for each in registries], at=at)


def cells(lines: list[str], title: str) -> list[dict[str, str]]:
    """Return the rows under a title by the names of their columns: two spaces or more stand between."""
    start = lines.index(title) + 1
    table = []
    for line in lines[start:]:
        if not line.startswith("  "):
            break
        table.append([cell.strip() for cell in line.strip().split("  ") if cell.strip()])
    return [dict(zip(table[0], row, strict=True)) for row in table[1:]]


def test_a_run_is_shown_with_its_rates() -> None:
    run = Registry(TRAINING)
    gauges = {
        "train_running": 1,
        "train_measuring": 0,
        "train_workers": 2,
        "train_restarts": 1,
        "train_epoch": 3.25,
        "train_epochs": 10,
        "train_time_left_seconds": 130,
        "train_bad_samples": 4,
    }
    for name, value in gauges.items():
        run.set(name, value, run="photos")
    run.set("train_loss", 0.5, run="photos", split="train")
    run.set("train_accuracy", 0.75, run="photos", split="train")
    run.set("train_accuracy", 0.7, run="photos", split="val")
    run.count("train_images", 640, run="photos")
    run.count("train_seconds", 100, run="photos")
    before = look(run, at=0)
    run.count("train_images", 1600, run="photos")
    run.count("train_seconds", 8, run="photos")
    run.count("train_data_wait_seconds", 2, run="photos")
    lines = list(status(before, look(run, at=10)))
    assert cells(lines, "training") == [
        {
            "run": "photos",
            "is": "training",
            "epoch": "3.25/10",
            "loss (val)": "0.5000 (-)",
            "accuracy (val)": "0.7500 (0.7000)",
            "images/s": "200",
            "data wait": "25%",
            "left": "2m10s",
            "workers": "2",
            "restarts": "1",
            "bad": "4",
        }
    ]
    assert lines[-1] == "serving: none"
    run.set("train_measuring", 1, run="photos")
    after = look(run, at=20)
    assert cells(list(status(after, after)), "training")[0]["is"] == "measuring"
    run.set("train_running", 0, run="photos")
    after = look(run, at=30)
    ended = cells(list(status(after, after)), "training")[0]
    assert (ended["is"], ended["left"], ended["images/s"]) == ("ended", "-", "-")


def test_an_endpoint_is_all_its_replicas_together() -> None:
    first, second = Registry(SERVING), Registry(SERVING)
    before = look(first, second, at=0)
    for count, replica in ((30, first), (10, second)):
        replica.count("requests", count, route="/predict", code="200")
        for _ in range(count):
            replica.observe("request_seconds", 0.02, route="/predict")
    first.count("requests", 8, route="/predict", code="429")
    second.count("requests", 2, route="/predict", code="503")
    first.set("replicas", 2)
    first.set("ready", 1)
    first.set("admitted", 3)
    first.set("capacity", 64)
    first.count("images_by_members", 30, version="v1", members="1")
    first.count("images_by_members", 10, version="v1", members="3")
    first.count("images_by_members", 10, version="v2", members="1")
    first.set("drift", 0.31, version="v1", of="confidence")
    first.set("drift", 0.05, version="v1", of="classes")
    first.set("version_share", 1, version="v1", role="stable")
    # On nodes, Ray's labels tell the series of processes apart; this one has only those with labels.
    pages = [prometheus.generate_latest(first.metrics).decode()]
    page = prometheus.generate_latest(second.metrics).decode().splitlines()
    pages.append("\n".join(line.replace("{", '{WorkerId="2",') for line in page if "{" in line))
    (row,) = cells(list(status(before, snapshot(pages, at=10))), "serving")
    assert row == {
        "ready": "1 of 2",
        "requests/s": "5.0",
        "refused": "16.0%",
        "errors": "4.0%",
        "p50": "18 ms",
        "p99": "25 ms",
        "queue": "3 of 64",
        "members": "1.40",
        "drift": "0.31",
        "versions": "v1 stable",
    }


def test_a_quantile_lies_between_the_bounds_of_its_bucket() -> None:
    table = {"x": Metric("histogram", "seconds", ("route",), "X.", (1.0, 2.0, 4.0))}
    registry = Registry(table)
    nothing = look(registry, at=0)
    assert quantile(nothing.since(nothing), "x", 0.5) is None
    for value in (0.5, 1.5, 1.5, 3.0):
        registry.observe("x", value, route="/")
    added = look(registry, at=1).since(nothing)
    assert quantile(added, "x", 0.5) == pytest.approx(1.5)
    assert quantile(added, "x", 1.0) == pytest.approx(4.0)
    registry.observe("x", math.inf, route="/")
    assert quantile(look(registry, at=2).since(nothing), "x", 0.99) == 4.0
