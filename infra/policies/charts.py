"""Rules about how a Pulumi program installs charts and objects."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.policies.manifest import PREFIX, PlannedResource
from infra.policies.rule import resource_rule
from infra.policies.values import UNKNOWN, lookup, satisfies

DEFAULT = re.compile(r"^(default(_\d[\w.]*)?)?$")
"""Name of the default provider, which Pulumi uses for resources without an explicit one."""

EXACT = re.compile(r"^v?\d+\.\d+\.\d+(?:[-+][\w.+-]+)?$")


@resource_rule(
    "chart-pinned",
    "Every chart has an exact version.",
    "Set `version` to one version such as `1.5.0`, from `infra/versions.py`; a chart in a local folder or archive "
    "contains its version.",
)
def _pinned(resource: PlannedResource) -> Iterator[str]:
    if not resource.is_a("helm.sh", "Release", "Chart"):
        return
    chart, version = lookup(resource.props, "chart"), lookup(resource.props, "version")
    # A chart that the program renders is a component without inputs; the rules see its objects.
    if chart in (None, UNKNOWN) or _is_path(chart):
        return
    if not satisfies(version, lambda v: isinstance(v, str) and EXACT.match(v)):
        yield f"the chart {chart} has {f'the version {version}' if version else 'no version'}"


def _is_path(chart: object) -> bool:
    return isinstance(chart, str) and (chart.startswith((".", "/")) or (chart.endswith(".tgz") and "://" not in chart))


@resource_rule(
    "explicit-provider",
    "Every Kubernetes object has an explicit provider.",
    "Pass `opts=ResourceOptions(provider=...)`, or a parent that has one; the default provider uses the current "
    "context of kubectl on this machine.",
)
def _provider(resource: PlannedResource) -> Iterator[str]:
    is_object = resource.token.startswith(PREFIX) and resource.provider is not None
    if is_object and DEFAULT.match(str(resource.provider)):
        yield "the object uses the default provider"
