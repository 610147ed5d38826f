"""Whatever a chart's schema allows is refused with a sentence, or is what Kubernetes and KubeRay take."""

import json
import re

import helm_python
import pytest
import yaml
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from ray.serve.schema import ServeDeploySchema

from tests.helm.charts import CHARTS, HELM, Charts, Object, pods
from tests.helm.kubernetes import bad_name, problems, restricted
from tests.helm.strategy import values_of
from tests.helm.test_render import RELEASES
from tests.helm.test_serve import unknown

# Anything goes in there, so anything may come out.
OPEN = frozenset({"extraManifests", "global", "manta-common"})
REFUSED = re.compile(r"\n\n[A-Za-z][^\n]*=.*: .*\n", re.DOTALL)
ENDS = ["1.31.0", "1.36.0"]


@pytest.mark.parametrize("chart", CHARTS)
def test_what_the_schema_allows_renders_or_is_refused(charts: Charts, chart: str) -> None:
    schema = json.loads((HELM / chart / "values.schema.json").read_text())

    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(values_of(schema, OPEN), st.sampled_from(RELEASES))
    def check(values: Object, release: str) -> None:
        try:
            found, said = charts.render(chart, values, release), ""
        except helm_python.HelmRenderError as error:
            said = str(error)
            found = []
        event("refused" if said else "rendered")
        assert not said or REFUSED.search(said), said
        assert [said for each in found for said in problems(each, ENDS)] == []
        assert [bad for each in found if (bad := bad_name(each))] == []
        for _, pod in pods(found):
            assert restricted(pod) == []
            assert problems({**pod, "apiVersion": "v1", "kind": "Pod"}, ENDS) == []
        for each in found:
            if each["kind"] == "RayService":
                config = yaml.safe_load(each["spec"]["serveConfigV2"])
                assert unknown(config, ServeDeploySchema) == []
                ServeDeploySchema.model_validate(config)

    check()
