"""The one form in which rules see a resource, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.policies.values import UNKNOWN, SecretValue, lookup

PREFIX = "kubernetes:"

# How Pulumi writes what JSON cannot say: pulumi/sdk/go/common/resource/properties.go.
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105
UNKNOWNS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # string
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


@dataclass(frozen=True, eq=False)
class PlannedResource:
    """A resource of a stack, or an object of a rendered manifest. Each is itself alone: its values cannot be hashed."""

    token: str
    """Pulumi's type token, for example `kubernetes:apps/v1:Deployment`."""
    name: str
    """The name in the program; of a manifest's object its own."""
    props: Mapping[str, Any]
    urn: str = ""
    provider: str | None = None
    """Name of the provider resource; `None` where there is nothing like it, as in a manifest."""
    marks_secrets: bool = False
    """Whether the source tells secrets from plain values."""

    @property
    def api_version(self) -> str:
        """For example `apps/v1`, `v1` or `ray.io/v1`; empty for what is no object of Kubernetes."""
        if not self.token.startswith(PREFIX):
            return ""
        return self.token.removeprefix(PREFIX).rpartition(":")[0].removeprefix("core/")

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def kind(self) -> str:
        """The kind of an object of Kubernetes; empty for another resource."""
        return self.token.rpartition(":")[2] if self.token.startswith(PREFIX) else ""

    @property
    def namespace(self) -> str:
        """The namespace as it is written; empty where there is none or it is not known."""
        namespace = lookup(self.props, "metadata", "namespace")
        if namespace is None and self.group == "helm.sh":
            namespace = lookup(self.props, "namespace")
        return namespace if isinstance(namespace, str) else ""

    @property
    def object_name(self) -> str:
        """The object's name, else the name in the program."""
        name = lookup(self.props, "metadata", "name")
        return name if isinstance(name, str) else self.name

    @property
    def label(self) -> str:
        """What messages and exceptions call it: `Kind/namespace/name`, or `token/name` of another resource."""
        return "/".join(part for part in (self.kind or self.token, self.namespace, self.object_name) if part)

    @property
    def labels(self) -> Any:
        """The object's labels."""
        return lookup(self.props, "metadata", "labels")

    def is_a(self, group: str, *kinds: str) -> bool:
        """Whether the object is of one of these kinds of an API group, whatever the version."""
        return self.kind in kinds and self.group == group


def from_manifest(document: Mapping[str, Any]) -> PlannedResource:
    """A resource of an object as YAML or JSON holds it."""
    api_version, kind = str(document.get("apiVersion", "")), str(document.get("kind", ""))
    version = api_version if "/" in api_version else f"core/{api_version}"
    return PlannedResource(f"{PREFIX}{version}:{kind}", str(lookup(document, "metadata", "name") or ""), document)


def from_engine(
    token: str, name: str, props: Mapping[str, Any], *, urn: str = "", provider: str | None = None
) -> PlannedResource:
    """A resource of what Pulumi's engine is sent: unknown values and secrets in its own notation."""
    known = from_engine_value(props)
    return PlannedResource(token, name, known if isinstance(known, Mapping) else {}, urn, provider, marks_secrets=True)


def from_engine_value(value: Any) -> Any:
    """A copy of a value of the engine in the notation of `infra.policies.values`."""
    if isinstance(value, str):
        return UNKNOWN if value in UNKNOWNS else value
    if isinstance(value, Mapping):
        if value.get(SIGNATURE) == SECRET:
            return SecretValue(from_engine_value(value.get("value")))
        return {str(k): from_engine_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [from_engine_value(v) for v in value]
    # Numbers travel as floating-point ones.
    return int(value) if isinstance(value, float) and value.is_integer() else value
