import prometheus_client as prometheus

from lib.track.registry import Registry
from lib.track.scrape import scrape, snapshot
from lib.track.serving_metrics import SERVING
from lib.track.training_metrics import TRAINING
from tests.pages import served_pages


def test_series_of_all_nodes_that_answer_come_together(port_that_refuses: int) -> None:
    with served_pages() as one, served_pages() as other:
        one.pages["/metrics"] = b'ray_manta_train_loss{run="a",split="val"} NaN\nray_node_cpu_count 2.0\n'
        other.pages["/metrics"] = (
            b'# HELP ray_manta_train_loss x\nray_manta_train_loss{run="b \\"q\\""} 0.5\n'
        )
        with served_pages() as without:
            addresses = [one.address, f"127.0.0.1:{port_that_refuses}", other.address, without.address]
            found = scrape(addresses)
    assert found.answered == 2
    assert list(found.series) == ["train_loss"]
    assert found.total("train_loss", run='b "q"') == 0.5
    assert len(found.of("train_loss", run="a")) == 1


def test_every_metric_of_the_tables_comes_back_as_it_was_written() -> None:
    for table in (TRAINING, SERVING):
        registry = Registry(table)
        for name, metric in table.items():
            labels = {label: f"{label} 1" for label in metric.labels}
            if metric.kind == "counter":
                registry.count(name, 3, **labels)
            elif metric.kind == "gauge":
                registry.set(name, 0.25, **labels)
            else:
                registry.observe(name, metric.buckets[1], **labels)
        found = snapshot([prometheus.generate_latest(registry.metrics).decode()], at=0)
        for name, metric in table.items():
            labels = {label: f"{label} 1" for label in metric.labels}
            if metric.kind == "counter":
                assert found.total(f"{name}_total", **labels) == 3
            elif metric.kind == "gauge":
                assert found.total(name, **labels) == 0.25
            else:
                bounds = {dict(key)["le"] for key in found.of(f"{name}_bucket", **labels)}
                assert {float(bound) for bound in bounds} == {*metric.buckets, float("inf")}
                assert found.total(f"{name}_count", **labels) == 1


def test_what_was_added_counts_from_the_start_where_a_counter_began_anew() -> None:
    before = snapshot(['manta_requests_total{code="200"} 5\nmanta_requests_total{code="500"} 7\n'], at=10)
    page = "".join(
        f'manta_requests_total{{code="{code}"}} {value}\n' for code, value in [(200, 8), (500, 2), (503, 1)]
    )
    added = snapshot([page], at=12).since(before)
    assert [added.total("requests_total", code=code) for code in ("200", "500", "503")] == [3, 2, 1]
    assert added.at == 2
