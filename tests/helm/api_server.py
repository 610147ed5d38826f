"""As much of a Kubernetes API server as Helm needs to install, upgrade, roll back and uninstall.

with api_server() as server:
    helm_python.Config(kubeconfig_content=server.kubeconfig, storage_driver="memory").install(…)
    server.objects                  # {"/apis/ray.io/v1/namespaces/team/rayclusters/x": {…}}
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

# Kinds by group and version; what they are called in a URL is the plural.
_KINDS = {
    "v1": ["ConfigMap", "Secret", "Pod", "Service", "ServiceAccount", "PersistentVolumeClaim"],
    "networking.k8s.io/v1": ["NetworkPolicy", "Ingress"],
    "policy/v1": ["PodDisruptionBudget"],
    "ray.io/v1": ["RayCluster", "RayJob", "RayCronJob", "RayService"],
    "monitoring.coreos.com/v1": ["PodMonitor", "PrometheusRule"],
}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass
class ApiServer:
    """What is there, by path, and the kind of every request that changed something."""

    url: str = ""
    objects: dict[str, Any] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    refuse: str = ""
    """Part of a path; creating or changing it is refused, as an admission webhook may."""

    @property
    def kubeconfig(self) -> str:
        here = {"name": "test", "cluster": {"server": self.url}}
        context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
        config = {"clusters": [here], "contexts": [context], "users": [{"name": "test", "user": {}}]}
        return json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "test", **config})

    def names(self, kind: str) -> list[str]:
        return sorted(each["metadata"]["name"] for each in self.objects.values() if each["kind"] == kind)

    def answer(self, method: str, path: str, media: str, body: bytes) -> tuple[int, Any]:
        path, _, _ = path.partition("?")
        if method == "GET" and (found := _discovery(path)) is not None:
            return 200, found
        changes = method in ("POST", "PUT", "PATCH")
        given = yaml.safe_load(body) if changes and body else {}
        if method == "POST":
            path = f"{path}/{given['metadata']['name']}"
        if changes and self.refuse and self.refuse in path:
            return 403, _status(403, "Forbidden", f"admission webhook denied {path}")
        if method in ("POST", "PUT", "PATCH", "DELETE"):
            self.changes.append((method, path))
        old = self.objects.get(path)
        if method == "POST" and old is not None:
            return 409, _status(409, "AlreadyExists", path)
        if method == "POST" or (method == "PATCH" and media.startswith("application/apply-patch")):
            self.objects[path] = given
            return 200 if old else 201, given
        if old is None:
            return 404, _status(404, "NotFound", path)
        if changes:
            self.objects[path] = given if method == "PUT" else _patched(old, given)
        elif method == "DELETE":
            del self.objects[path]
        return 200, self.objects.get(path, old)


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """Run a server on the loopback interface."""
    state = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            media = self.headers.get("Content-Type") or ""
            status, found = state.answer(self.command, self.path, media, body)
            text, media = json.dumps(found).encode(), "application/json"
            if self.path.startswith("/openapi/v2"):
                # An empty document: nothing is known about any kind, so Helm validates nothing.
                text, media = b"", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _discovery(path: str) -> Any:
    groups = [version for version in _KINDS if "/" in version]
    if path == "/version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(each) for each in groups]}
    if path.startswith("/openapi/v2"):
        return {}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version not in _KINDS:
        return None
    resources = [
        {"name": _plural(kind), "kind": kind, "namespaced": True, "verbs": _VERBS} for kind in _KINDS[version]
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _group(version: str) -> Any:
    this = {"groupVersion": version, "version": version.partition("/")[2]}
    return {"name": version.partition("/")[0], "versions": [this], "preferredVersion": this}


def _plural(kind: str) -> str:
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("cy") else f"{name}es" if name.endswith("ss") else f"{name}s"


def _status(code: int, reason: str, message: str) -> Any:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def _patched(old: Any, patch: Any) -> Any:
    """Merge as RFC 7386 has it."""
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return patch
    merged = {key: _patched(old.get(key), value) for key, value in patch.items() if value is not None}
    return {key: value for key, value in old.items() if key not in patch} | merged
