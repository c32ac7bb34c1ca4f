"""The description of a platform add-on, and where its chart, manifests and images come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from infra.cluster_config import Existing, Mirror, Toleration
from infra.config import StackConfig
from infra.layout import CHECKOUT
from infra.nodes.resources import Resources
from infra.versions import Chart, Manifests

Values = dict[str, Any]


@dataclass(frozen=True)
class AddonPod:
    """A pod of an add-on that requests resources of its node, as its chart or its operator sets them."""

    name: str
    requests: Resources
    every_node: bool = False
    """Whether it runs on each node that it tolerates (a DaemonSet)."""
    tolerations: tuple[Toleration, ...] = ()


@dataclass(frozen=True)
class Addon:
    """An operator that the cluster needs in addition to the application. All functions are pure."""

    name: str
    """The add-on's field in `headrace:addons`."""
    namespace: str
    needed: Callable[[StackConfig], bool]
    """Whether the stack needs it, which decides `auto`."""
    chart: Callable[[StackConfig], Chart]
    values: Callable[[StackConfig, Mapping[str, str]], Values]
    """The chart's values; the second argument maps image names to the references that the cluster pulls."""
    kinds: Sequence[str]
    """CRDs that the stack uses, such as `rayservices.ray.io`; those of another owner conflict with the add-on's."""
    crds: Chart | Manifests | None = None
    """Source of the CRDs, installed separately where Helm would not upgrade those in the add-on's chart."""
    crd_values: Mapping[str, Any] = field(default_factory=dict)
    """Values for the chart of the CRDs."""
    pod_security: Literal["restricted", "baseline", "privileged"] = "restricted"
    after: Sequence[str] = ()
    """Names of add-ons that must be installed before it."""
    pods: Callable[[StackConfig], Sequence[AddonPod]] = lambda _: ()
    """Its pods with requests, which take room from those of the stack."""
    webhooks: tuple[int, ...] = ()
    """Ports of its pods that the API server calls, for webhooks of admission and conversion."""
    critical: bool = False
    """Whether its pods have the priority of a node's own, which GKE admits only under a ResourceQuota that says so."""
    objects: Callable[[StackConfig], Sequence[Values]] = lambda _: ()
    """Objects that the add-on needs and its chart does not contain."""

    def quota(self) -> Values | None:
        """Returns the specification of the ResourceQuota that admits its pods; None if they need none."""
        if not self.critical:
            return None
        scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}
        return {"hard": {"pods": "1000"}, "scopeSelector": {"matchExpressions": [scope]}}

    def choice(self, config: StackConfig) -> Literal["install", "existing", "off"]:
        """Returns whether this stack installs the add-on, uses an existing one, or does without it."""
        setting = getattr(config.addons, self.name)
        if isinstance(setting, Existing):
            return "existing"
        if setting == "auto":
            return "install" if self.needed(config) else "off"
        return "install" if setting == "install" else "off"

    def crds_step(self, config: StackConfig) -> Chart | Manifests | None:
        """Returns what installs the CRDs separately.

        None if the chart must do it: an OCI registry as mirror has no plain manifests.
        """
        charts_only = isinstance(self.crds, Manifests) and config.mirror.charts.startswith("oci://")
        return None if charts_only else self.crds

    def images(self, config: StackConfig) -> dict[str, str]:
        """Returns the references under which the cluster pulls the chart's images, by image name."""
        return {name: config.mirror.image(image) for name, image in self.chart(config).images.items()}


@dataclass(frozen=True)
class ChartSource:
    """Where Helm finds a chart: `chart` is a name (with `repository`), an OCI reference or a path."""

    chart: str
    version: str | None
    repository: str | None = None


def chart_source(chart: Chart, mirror: Mirror) -> ChartSource:
    """Returns where Helm finds `chart`: in the mirror if there is one. An archive's name includes the version."""
    if mirror.charts.startswith("oci://"):
        return ChartSource(f"{mirror.charts.rstrip('/')}/{chart.name}", chart.version)
    if mirror.charts:
        return ChartSource(str(charts_folder(mirror) / f"{chart.name}-{chart.version}.tgz"), None)
    match chart.source:
        case "repo":
            return ChartSource(chart.name, chart.version, chart.location)
        case "oci":
            return ChartSource(chart.location, chart.version)
    return ChartSource(str((CHECKOUT / chart.location).resolve()), None)


def charts_folder(mirror: Mirror) -> Path:
    """Returns the folder with the mirror's charts; a relative path is below the checkout."""
    return (CHECKOUT / mirror.charts).resolve()


def manifest_paths(manifests: Manifests, mirror: Mirror) -> list[str]:
    """Returns paths or URLs of the files of `manifests`; a mirror's folder has them under the same names."""
    if mirror.charts and not mirror.charts.startswith("oci://"):
        return [str(charts_folder(mirror) / name) for name in manifests.files]
    return [f"{manifests.location}/{name}" for name in manifests.files]


def split_reference(reference: str) -> tuple[str, str, str]:
    """Splits an image reference into registry, repository and tag."""
    registry, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    return registry, repository, tag


def registry_image(reference: str) -> Values:
    """Returns the values of an image for charts with separate `registry` and `repository`."""
    registry, repository, tag = split_reference(reference)
    return {"registry": registry, "repository": repository, "tag": tag}


def repository_image(reference: str) -> Values:
    """Returns the values of an image for charts whose `repository` includes the registry."""
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
