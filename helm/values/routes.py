"""Ways in from outside the Kubernetes cluster."""

from typing import Annotated, Literal

from pydantic import Field

from helm.values.section import Annotations, Item, OptionalSubdomain, Port, Subdomain, Values

UrlPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9/_.-]*$")]


class Ingress(Values):
    """An Ingress."""

    enabled: bool = False
    """Make one."""
    class_name: OptionalSubdomain = ""
    """Class of the controller."""
    host: OptionalSubdomain = ""
    """Host name; empty is any."""
    path: UrlPath = "/"
    """Prefix of the paths."""
    tls_secret: OptionalSubdomain = ""
    """Secret with the certificate."""
    annotations: Annotations = {}
    """Annotations."""


class ParentRef(Item):
    """A Gateway."""

    name: Subdomain
    """Its name."""
    namespace: Subdomain | None = None
    """Its namespace."""
    section_name: Subdomain | None = None
    """Its listener."""


class HttpRoute(Values):
    """An HTTPRoute of the Gateway API."""

    enabled: bool = False
    """Make one."""
    parent_refs: list[ParentRef] = []
    """Gateways that it belongs to."""
    hostnames: list[Subdomain] = []
    """Host names; none is any."""
    path: UrlPath = "/"
    """Prefix of the paths."""
    annotations: Annotations = {}
    """Annotations."""


class ServiceOptions(Values):
    """The Service of the endpoint."""

    type: Literal["ClusterIP", "LoadBalancer", "NodePort"] = "ClusterIP"
    """Its type."""
    port: Port = 8000
    """Its port."""
    annotations: Annotations = {}
    """Annotations."""
