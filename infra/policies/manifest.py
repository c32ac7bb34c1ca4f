"""The representation of a resource for rules, created from a manifest or from Pulumi's engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.policies.values import UNKNOWN, SecretValue, lookup

PREFIX = "kubernetes:"

# Pulumi's notation of secrets and unknown values: pulumi/sdk/go/common/resource/properties.go.
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
    """A resource of a stack, or an object of a rendered manifest. It is compared by identity, to be hashable."""

    token: str
    """Pulumi's type token, for example `kubernetes:apps/v1:Deployment`."""
    name: str
    """The resource's name in the program, or the object's name in a manifest."""
    props: Mapping[str, Any]
    urn: str = ""
    provider: str | None = None
    """Name of the provider resource; None for manifests and components."""
    marks_secrets: bool = False
    """Whether the source marks secret values."""

    @property
    def api_version(self) -> str:
        """For example `apps/v1`, `v1` or `ray.io/v1`; empty for resources outside Kubernetes."""
        if not self.token.startswith(PREFIX):
            return ""
        return self.token.removeprefix(PREFIX).rpartition(":")[0].removeprefix("core/")

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def kind(self) -> str:
        """The kind of a Kubernetes object; empty for other resources."""
        return self.token.rpartition(":")[2] if self.token.startswith(PREFIX) else ""

    @property
    def namespace(self) -> str:
        """The namespace; empty if there is none or it is unknown."""
        namespace = lookup(self.props, "metadata", "namespace")
        if namespace is None and self.group == "helm.sh":
            namespace = lookup(self.props, "namespace")
        return namespace if isinstance(namespace, str) else ""

    @property
    def object_name(self) -> str:
        """The object's name, or else the name in the program."""
        name = lookup(self.props, "metadata", "name")
        return name if isinstance(name, str) else self.name

    @property
    def label(self) -> str:
        """Name for messages and exceptions: `Kind/namespace/name`, or `token/name` for other resources."""
        return "/".join(part for part in (self.kind or self.token, self.namespace, self.object_name) if part)

    @property
    def labels(self) -> Any:
        """The object's labels."""
        return lookup(self.props, "metadata", "labels")

    def is_a(self, group: str, *kinds: str) -> bool:
        """Returns whether the object has one of these kinds of an API group, in any version."""
        return self.kind in kinds and self.group == group


def from_manifest(document: Mapping[str, Any]) -> PlannedResource:
    """Creates a resource from an object in YAML or JSON."""
    api_version, kind = str(document.get("apiVersion", "")), str(document.get("kind", ""))
    version = api_version if "/" in api_version else f"core/{api_version}"
    return PlannedResource(f"{PREFIX}{version}:{kind}", str(lookup(document, "metadata", "name") or ""), document)


def from_engine_value(value: Any) -> Any:
    """Converts a value of Pulumi's engine to a copy in the notation of `infra.policies.values`."""
    if isinstance(value, str):
        return UNKNOWN if value in UNKNOWNS else value
    if isinstance(value, Mapping):
        if value.get(SIGNATURE) == SECRET:
            return SecretValue(from_engine_value(value.get("value")))
        return {str(k): from_engine_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [from_engine_value(v) for v in value]
    # The engine sends all numbers as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value
