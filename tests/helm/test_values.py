"""Values, schemas and documentation come from one place, and versions are those of the package."""

import json
import tomllib
from typing import Any

import helm_python
import jsonschema
import pytest
import ray
import yaml

from helm.generate import CHARTS as MODELS
from helm.generate import files
from helm.values.jobs import KINDS
from lib.config.help import schema_text
from lib.config.serving import ServeConfig
from tests.helm.charts import CHARTS, HELM, ROOT, Charts, profiles

PACKAGE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_generated_files_are_current() -> None:
    stale = [str(path) for path, text in files().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run python -m helm.generate"


def schema(chart: str) -> Any:
    return json.loads((HELM / chart / "values.schema.json").read_text())


def inlined(part: Any, root: Any) -> Any:
    """A schema with every reference replaced by what it refers to."""
    if isinstance(part, list):
        return [inlined(each, root) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        target = root["$defs"][part["$ref"].rpartition("/")[2]]
        return inlined(target | {key: value for key, value in part.items() if key != "$ref"}, root)
    return {
        key: inlined(value, root) for key, value in part.items() if key not in ("$defs", "$schema", "title")
    }


def ours(part: dict[str, Any]) -> dict[str, Any]:
    """Without what describes the place where a schema is used, and with maps closed, as charts have it."""
    return {key: value for key, value in close(part).items() if key not in ("description", "default")}


def close(part: Any) -> Any:
    if isinstance(part, list):
        return [close(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {key: close(value) for key, value in part.items()}
    return found | {"additionalProperties": False} if "patternProperties" in found else found


@pytest.mark.parametrize("kind", KINDS)
def test_the_words_of_a_job_are_those_of_lib_config(kind: str) -> None:
    chart = schema("manta-jobs")
    embedded = chart["$defs"]["Work"]["properties"][kind]
    theirs = json.loads(schema_text(KINDS[kind]))
    assert ours(inlined(embedded, chart)) == ours(inlined(theirs, theirs))


def test_the_words_of_the_endpoint_are_those_of_lib_config() -> None:
    chart = schema("manta-serve")
    theirs = json.loads(schema_text(ServeConfig))
    assert ours(inlined(chart["properties"]["endpoint"], chart)) == ours(inlined(theirs, theirs))


@pytest.mark.parametrize("chart", CHARTS)
def test_schemas_are_closed_and_of_the_draft_that_helm_knows(chart: str) -> None:
    found = schema(chart)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(found)
    open_ones = [
        path
        for path, part in _objects(found, "")
        if "properties" in part and part.get("additionalProperties") is not False
    ]
    assert open_ones == []


def _objects(part: Any, path: str) -> Any:
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield path, part
        for key, value in part.items():
            yield from _objects(value, f"{path}/{key}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from _objects(value, f"{path}/{number}")


@pytest.mark.parametrize("chart", CHARTS)
def test_defaults_are_those_of_the_models(chart: str) -> None:
    model, _ = MODELS[chart]
    defaults = yaml.safe_load((HELM / chart / "values.yaml").read_text())
    assert model.model_validate_json(json.dumps(defaults)) == model()


@pytest.mark.parametrize("chart", CHARTS)
def test_lint_has_nothing_to_say(charts: Charts, chart: str) -> None:
    for values in [{}, *profiles(chart).values()]:
        report = helm_python.lint(str(charts.folder / chart), values, strict=True)
        assert report["errors"] == []
        # Below a warning there is the remark that a chart could have an icon.
        assert [said for said in report["messages"] if said["severity"] > 1] == []


@pytest.mark.parametrize("chart", [*CHARTS, "manta-common"])
def test_versions_are_those_of_the_package(chart: str) -> None:
    found = yaml.safe_load((HELM / chart / "Chart.yaml").read_text())
    assert found["version"] == found["appVersion"] == PACKAGE["version"]
    assert found["kubeVersion"] == ">=1.31.0-0"
    for dependency in found.get("dependencies", []):
        assert dependency == {
            "name": "manta-common",
            "version": PACKAGE["version"],
            "repository": "file://../manta-common",
        }


def test_profiles_of_gpus_name_the_image_of_this_version() -> None:
    for chart in CHARTS:
        for path in (HELM / chart / "ci").glob("gpu-*.yaml"):
            assert f"tag: {PACKAGE['version']}-cuda" in path.read_text()


def test_the_version_of_ray_is_the_one_that_is_installed() -> None:
    for chart in ("manta-cluster", "manta-jobs", "manta-serve"):
        assert yaml.safe_load((HELM / chart / "values.yaml").read_text())["rayVersion"] == ray.__version__


def test_every_profile_says_what_it_needs() -> None:
    for chart in CHARTS:
        assert profiles(chart)
        for path in (HELM / chart / "ci").glob("*.yaml"):
            text = path.read_text()
            comment = text[: text.index("\n", text.rindex("# ", 0, 300))]
            assert "Needs:" in comment, path
