"""The charts through the real Helm engine, in a copy whose dependencies are built.

charts = Charts(tmp_path)
charts.render("manta-serve", {"endpoint": {"bundle": "runs/x/bundle"}}, name="demo")      # objects, in order
profiles("manta-serve")                                                                   # {"ha": {…}, …}
"""

import json
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
HELM = ROOT / "helm"
CHARTS = ["manta-cluster", "manta-jobs", "manta-serve", "manta-monitoring"]
Object = dict[str, Any]


class Charts:
    """A copy of helm/ that may be written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The same is rendered for many tests, and a chart with several jobs takes a tenth of a second.
        self._files: dict[str, dict[str, str]] = {}
        names = [*CHARTS, "manta-common"]
        for name in names:
            shutil.copytree(HELM / name, folder / name, ignore=shutil.ignore_patterns("charts"))
        for name in CHARTS:
            helm_python.dependency_update(str(folder / name))

    @cached_property
    def loaded(self) -> dict[str, helm_python.Chart]:
        return {name: helm_python.Chart.load(str(self.folder / name)) for name in CHARTS}

    def files(self, chart: str, values: Object | None = None, name: str = "demo") -> dict[str, str]:
        """Render a chart in namespace `team`; NOTES.txt is among the files."""
        key = json.dumps([chart, values or {}, name])
        if key not in self._files:
            self._files[key] = self.loaded[chart].render(values or {}, name=name, namespace="team")
        return self._files[key]

    def render(self, chart: str, values: Object | None = None, name: str = "demo") -> list[Object]:
        return objects(self.files(chart, values, name))

    def close(self) -> None:
        for chart in self.loaded.values():
            chart.close()


def objects(files: dict[str, str]) -> list[Object]:
    """Parse the objects of rendered files; a file must hold nothing else, and no key twice."""
    texts = [text for path, text in files.items() if path.endswith(".yaml")]
    found = [each for text in texts for each in yaml.load_all(text, Loader=Strict) if each is not None]
    assert all(isinstance(each, dict) and each["kind"] for each in found)
    return found


class Strict(yaml.CSafeLoader):
    """YAML that refuses a key that is there twice, as the API server does."""


def _mapping(loader: yaml.CSafeLoader, node: yaml.MappingNode) -> Object:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(set(keys)) == len(keys), f"a key is there twice: {keys}"
    loader.flatten_mapping(node)
    return {loader.construct_object(k): loader.construct_object(v, deep=True) for k, v in node.value}


Strict.add_constructor("tag:yaml.org,2002:map", _mapping)


def profiles(chart: str) -> dict[str, Object]:
    """Values of ci/, by name."""
    files = sorted((HELM / chart / "ci").glob("*-values.yaml"))
    return {path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text()) for path in files}


def only(found: list[Object], kind: str) -> Object:
    """The object of a kind of which there is one."""
    (one,) = [each for each in found if each["kind"] == kind]
    return one


def pods(found: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod, and every template of one, inside custom resources too, with where it was found."""
    for each in found:
        yield from _pods(each, f"{each['kind']}/{each['metadata']['name']}")


def _pods(part: Any, path: str) -> Iterator[tuple[str, Object]]:
    if isinstance(part, dict):
        spec = part.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            yield path, part
        for key, value in part.items():
            yield from _pods(value, f"{path}.{key}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from _pods(value, f"{path}[{number}]")


def merged(*layers: Object) -> Object:
    """Values over values, as several --values of Helm."""
    result: Object = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            both = isinstance(below, dict) and isinstance(value, dict)
            result[key] = merged(below, value) if both else value
    return result
