"""Rules about how a Pulumi program installs things."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.policies.manifest import PREFIX, PlannedResource
from infra.policies.rule import resource_rule
from infra.policies.values import UNKNOWN, lookup, satisfies

DEFAULT = re.compile(r"^(default(_\d[\w.]*)?)?$")
"""Name of the provider that Pulumi makes by itself; a resource without any gets that one."""

EXACT = re.compile(r"^v?\d+\.\d+\.\d+(?:[-+][\w.+-]+)?$")


@resource_rule(
    "chart-pinned",
    "Every chart has one exact version.",
    "Set `version` to one version such as `1.5.0`, from `infra/versions.py`; a chart in a folder or archive of ours "
    "has its version in itself.",
)
def _pinned(resource: PlannedResource) -> Iterator[str]:
    if not resource.is_a("helm.sh", "Release", "Chart"):
        return
    chart, version = lookup(resource.props, "chart"), lookup(resource.props, "version")
    # A chart that the program itself renders is a component, which shows its objects and no inputs.
    if chart in (None, UNKNOWN) or _is_path(chart):
        return
    if not satisfies(version, lambda v: isinstance(v, str) and EXACT.match(v)):
        yield f"the chart {chart} has {f'the version {version}' if version else 'no version'}"


def _is_path(chart: object) -> bool:
    return isinstance(chart, str) and (chart.startswith((".", "/")) or (chart.endswith(".tgz") and "://" not in chart))


@resource_rule(
    "explicit-provider",
    "Every object of Kubernetes names the cluster that it is for.",
    "Pass `opts=ResourceOptions(provider=...)`, or give it a parent that does; the default provider is whatever "
    "kubectl of this machine points at.",
)
def _provider(resource: PlannedResource) -> Iterator[str]:
    ours = resource.token.startswith(PREFIX) and resource.provider is not None
    if ours and DEFAULT.match(str(resource.provider)):
        yield "the object goes to the default provider"
