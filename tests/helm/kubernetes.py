"""What a Kubernetes cluster would say to an object: schemas of its own kinds, and of KubeRay's, strictly.

problems(object)                    # for Kubernetes 1.31 to 1.36
restricted(pod)                     # what the Restricted pod security standard has against it
"""

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from tests.helm.charts import ROOT, Object

VERSIONS = [f"1.{minor}.0" for minor in range(31, 37)]
CRDS = Path(os.environ.get("MANTA_KUBERAY_CRDS", ROOT.parent / "shared/kuberay-crds"))
CRDS_MISSING = (
    f"no schemas of KubeRay at {CRDS}: set MANTA_KUBERAY_CRDS to a folder with raycluster.v1.json …"
)
RAY_KINDS = ("RayCluster", "RayJob", "RayCronJob", "RayService")
# Kinds whose schemas nobody here has; what the chart says of them is looked at by tests of their own.
OTHERS = ("ExternalSecret", "HTTPRoute", "PodMonitor", "PrometheusRule")


def problems(found: Object, versions: list[str] = VERSIONS) -> list[str]:
    """Return what is wrong with an object, with the paths."""
    if found["kind"] in OTHERS:
        return []
    if found["kind"] in RAY_KINDS:
        return _ray_problems(found) if CRDS.is_dir() else []
    return [f"{version}: {each}" for version in versions for each in _core_problems(found, version)]


def _core_problems(found: Object, version: str) -> list[str]:
    group, _, name = found["apiVersion"].rpartition("/")
    kind = f"{found['kind'].lower()}-{group.partition('.')[0]}-{name}".replace("--", "-")
    return _said(_core(kind, version), found)


@cache
def _core(kind: str, version: str) -> jsonschema.Draft202012Validator:
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    schema = schema_contents(f"{folder}/{kind}.json", version)
    return jsonschema.Draft202012Validator(
        schema, registry=_definitions(version).with_resource("", schema_of(schema))
    )


@cache
def _definitions(version: str) -> Registry[Any]:
    contents = schema_contents(f"kubernetes-json-schema/v{version}-local-strict/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


def schema_of(contents: Object) -> Resource[Any]:
    return Resource.from_contents(contents)


def _ray_problems(found: Object) -> list[str]:
    schema = _ray_schema(found["kind"])
    return _said(jsonschema.Draft202012Validator(schema), with_defaults(found, schema))


@cache
def _ray_schema(kind: str) -> Object:
    return closed(json.loads((CRDS / f"{kind.lower()}.v1.json").read_text())["schema"])


def closed(schema: Any) -> Any:
    """Close every object with properties, unless it keeps what it does not know."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    is_open = result.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(result.get("properties"), dict) and result.get("type") == "object" and not is_open:
        result.setdefault("additionalProperties", False)
    return result


def with_defaults(value: Any, schema: Object) -> Any:
    """Drop nulls and fill in defaults, as the API server does before it validates."""
    if isinstance(value, list):
        return [with_defaults(each, schema.get("items", {})) for each in value]
    if not isinstance(value, dict):
        return value
    fields = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    rest = rest if isinstance(rest, dict) else {}
    given = {
        key: with_defaults(each, fields.get(key, rest)) for key, each in value.items() if each is not None
    }
    return {key: each["default"] for key, each in fields.items() if "default" in each} | given


def _said(validator: jsonschema.Draft202012Validator, found: Object) -> list[str]:
    return [f"{error.json_path}: {error.message}"[:500] for error in validator.iter_errors(found)]


def restricted(pod: Object) -> list[str]:
    """Return what the Restricted standard has against a pod; nor may its root file system be written to."""
    spec, found = pod["spec"], []
    allowed = {
        "configMap",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec.get("volumes", []):
        if not (set(volume) - {"name"}) <= allowed:
            found.append(f"volume {volume}")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            found.append(key)
    whole = spec.get("securityContext", {})
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind, []):
            own = container.get("securityContext", {})
            wanted = {
                "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
                "privileged": not own.get("privileged"),
                "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
                "runAsNonRoot": own.get("runAsNonRoot", whole.get("runAsNonRoot")) is True,
                "runAsUser": own.get("runAsUser", whole.get("runAsUser")) != 0,
                "seccompProfile": own.get("seccompProfile", whole.get("seccompProfile", {})).get("type")
                == "RuntimeDefault",
                "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
                "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
            }
            found += [f"{container['name']}: {key}" for key, is_right in wanted.items() if not is_right]
    return found


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LIMITS = {"RayCluster": 53, "RayService": 47, "RayJob": 47, "RayCronJob": 36}


def bad_name(found: Object) -> str | None:
    """Say what is wrong with the name of an object."""
    name, kind = found["metadata"]["name"], found["kind"]
    # These may have dots, as the user names them.
    is_subdomain = kind in ("ServiceAccount", "ExternalSecret")
    limit = 253 if is_subdomain else LIMITS.get(kind, 63)
    if len(name) > limit:
        return f"{kind} {name} has {len(name)} characters, above {limit}"
    pattern = _DNS_1035 if kind in LIMITS else _LABEL
    parts = name.split(".") if is_subdomain else [name]
    return None if all(pattern.fullmatch(part) for part in parts) else f"{kind} {name}"
