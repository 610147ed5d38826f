"""The findings by the names that `study.finding` may have."""

from collections.abc import Callable

from lib.tune.findings import architectures, augmentation, freeze, schedules, search, transfer
from lib.tune.findings.answer import Answer
from lib.tune.variant import Numbers

FINDINGS: dict[str, Callable[[Numbers], Answer]] = {
    "search": search.find,
    "architectures": architectures.find,
    "transfer": transfer.find,
    "augmentation": augmentation.find,
    "schedules": schedules.find,
    "freeze": freeze.find,
}
