from collections.abc import Callable

import pytest

from lib.cluster import Placement
from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.train.launch import _check_sync
from lib.train.plan import plan_run

Make = Callable[..., FinetuneConfig]


def test_statistics_over_workers_are_refused_where_torch_has_none(small: Make) -> None:
    plan = plan_run(small(train__sync_batchnorm=True, run__num_workers=2))
    with pytest.raises(UserError, match="needs GPUs: torch has no SyncBatchNorm for CPUs") as caught:
        _check_sync(plan, Placement(workers=2, gpu=False, cpus=1))
    assert caught.value.hint.startswith("leave it out")
    _check_sync(plan, Placement(workers=2, gpu=True, cpus=1))


def test_statistics_over_one_worker_are_refused(small: Make) -> None:
    plan = plan_run(small(train__sync_batchnorm=True, run__num_workers="auto"))
    with pytest.raises(UserError, match="has no effect with one worker"):
        _check_sync(plan, Placement(workers=1, gpu=True, cpus=4))


def test_without_statistics_over_workers_any_placement_will_do(small: Make) -> None:
    _check_sync(plan_run(small(run__num_workers=2)), Placement(workers=2, gpu=False, cpus=1))
