"""What a platform add-on is: one shape for all, so that each file says only what is its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from infra.cluster_config import Existing, Mirror
from infra.config import StackConfig
from infra.targets.layout import CHECKOUT
from infra.versions import Chart, Manifests

Values = dict[str, Any]


@dataclass(frozen=True)
class Addon:
    """An operator that the cluster needs beside the application. All functions are pure."""

    name: str
    """Its field in `headrace:addons`."""
    namespace: str
    needed: Callable[[StackConfig], bool]
    """What `auto` decides."""
    chart: Callable[[StackConfig], Chart]
    values: Callable[[StackConfig, Mapping[str, str]], Values]
    """The chart's values; the second argument are the chart's images as the cluster pulls them."""
    kinds: Sequence[str]
    """Its CRDs (`rayservices.ray.io`) that the stack relies on; another owner's are a name clash."""
    crds: Chart | Manifests | None = None
    """A step of its own where the chart would leave CRDs as they are on an upgrade."""
    crd_values: Mapping[str, Any] = field(default_factory=dict)
    """Of the chart of the CRDs."""
    pod_security: Literal["restricted", "baseline", "privileged"] = "restricted"
    after: Sequence[str] = ()
    """Add-ons that must run before it."""
    objects: Callable[[StackConfig], Sequence[Values]] = lambda _: ()
    """Objects that its chart does not make."""

    def choice(self, config: StackConfig) -> Literal["install", "existing", "off"]:
        """What becomes of it in this stack."""
        said = getattr(config.addons, self.name)
        if isinstance(said, Existing):
            return "existing"
        if said == "auto":
            return "install" if self.needed(config) else "off"
        return "install" if said == "install" else "off"

    def crds_step(self, config: StackConfig) -> Chart | Manifests | None:
        """What installs its CRDs beside its chart. A registry holds charts alone: there the chart brings them."""
        alone = isinstance(self.crds, Manifests) and config.mirror.charts.startswith("oci://")
        return None if alone else self.crds

    def images(self, config: StackConfig) -> dict[str, str]:
        """Its chart's images as the cluster pulls them."""
        return {name: config.mirror.image(image) for name, image in self.chart(config).images.items()}


@dataclass(frozen=True)
class Source:
    """Where Helm finds a chart: `chart` is a name (with `repository`), an OCI reference or a path."""

    chart: str
    version: str | None
    repository: str | None = None


def source(chart: Chart, mirror: Mirror) -> Source:
    """Where `chart` comes from in this stack. An archive in a folder has its version in its name."""
    if mirror.charts.startswith("oci://"):
        return Source(f"{mirror.charts.rstrip('/')}/{chart.name}", chart.version)
    if mirror.charts:
        return Source(str(folder(mirror) / f"{chart.name}-{chart.version}.tgz"), None)
    match chart.source:
        case "repo":
            return Source(chart.name, chart.version, chart.location)
        case "oci":
            return Source(chart.location, chart.version)
    return Source(str((CHECKOUT / chart.location).resolve()), None)


def folder(mirror: Mirror) -> Path:
    """The folder of the mirror's charts; a relative one lies below the checkout."""
    return (CHECKOUT / mirror.charts).resolve()


def files(manifests: Manifests, mirror: Mirror) -> list[str]:
    """Paths or URLs of `manifests`; a mirror's folder holds them under the same names."""
    if mirror.charts and not mirror.charts.startswith("oci://"):
        return [str(folder(mirror) / name) for name in manifests.files]
    return [f"{manifests.location}/{name}" for name in manifests.files]


def parts(reference: str) -> tuple[str, str, str]:
    """Registry, repository and tag of an image reference with a registry."""
    registry, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    return registry, repository, tag


def named(reference: str) -> Values:
    """An image as charts take it that keep registry and repository apart."""
    registry, repository, tag = parts(reference)
    return {"registry": registry, "repository": repository, "tag": tag}


def whole(reference: str) -> Values:
    """An image as charts take it that know a repository with its registry."""
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
