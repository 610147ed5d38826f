"""One copy of the charts for all tests that only render."""

from collections.abc import Iterator

import pytest

from tests.helm.charts import Charts


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Charts]:
    made = Charts(tmp_path_factory.mktemp("helm") / "charts")
    yield made
    made.close()
