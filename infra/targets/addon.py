"""The resources of an add-on: namespace, CRDs, Helm release and additional objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pulumi import ResourceOptions

from infra.addons.addon import Addon, chart_source, manifest_paths
from infra.config import StackConfig
from infra.targets.cluster_preflight import STACK_LABEL
from infra.versions import Chart

STACK_LABELS = {"app.kubernetes.io/part-of": "headrace"}
TIMEOUT_S = 900


def labelled_namespace(
    resource: str, name: str, stack: str, pod_security: str, opts: ResourceOptions
) -> k8s.core.v1.Namespace:
    """Creates a namespace with labels for its stack and its Pod Security Standard."""
    return k8s.core.v1.Namespace(resource, metadata=namespace_metadata(name, stack, pod_security), opts=opts)


def namespace_metadata(name: str, stack: str, pod_security: str) -> dict[str, Any]:
    """Returns the metadata of a namespace, with labels for its stack and its Pod Security Standard."""
    labels = {STACK_LABEL: stack, **STACK_LABELS, "pod-security.kubernetes.io/enforce": pod_security}
    if pod_security == "restricted":
        labels |= {f"pod-security.kubernetes.io/{mode}": pod_security for mode in ("audit", "warn")}
    metadata: dict[str, Any] = {"name": name, "labels": labels}
    if pod_security == "privileged":
        metadata["annotations"] = {"policy.headrace.io/pod-security-label": "its pods work on the nodes themselves"}
    return metadata


class InstalledAddon(pulumi.ComponentResource):
    """An add-on in its own namespace."""

    def __init__(self, addon: Addon, config: StackConfig, stack: str, opts: ResourceOptions) -> None:
        super().__init__("headrace:kubernetes:Addon", addon.name, opts=ResourceOptions(parent=opts.parent))
        own = ResourceOptions.merge(opts, ResourceOptions(parent=self))
        self._addon = addon
        self._config = config
        self.namespace = labelled_namespace(f"{addon.name}-namespace", addon.namespace, stack, addon.pod_security, own)
        after = ResourceOptions.merge(own, ResourceOptions(depends_on=[self.namespace]))
        before = [*self._crds(after), *self._quota(after)]
        self.release = self._release(
            addon.name,
            addon.chart(config),
            addon.values(config, addon.images(config)),
            ResourceOptions.merge(after, ResourceOptions(depends_on=before)),
        )
        after = ResourceOptions.merge(after, ResourceOptions(depends_on=[self.release]))
        for spec in addon.objects(config):
            _custom_resource(addon.name, spec, after)
        self.register_outputs({})

    def _quota(self, opts: ResourceOptions) -> list[pulumi.Resource]:
        if (spec := self._addon.quota()) is None:
            return []
        metadata = {"name": "node-pods", "namespace": self._addon.namespace}
        return [k8s.core.v1.ResourceQuota(f"{self._addon.name}-quota", metadata=metadata, spec=spec, opts=opts)]

    def _crds(self, opts: ResourceOptions) -> list[pulumi.Resource]:
        """Installs the CRDs as separate resources, since Helm never upgrades the CRDs in a chart."""
        crds = self._addon.crds_step(self._config)
        name = f"{self._addon.name}-crds"
        if crds is None:
            return []
        if isinstance(crds, Chart):
            return [self._render_crds(name, crds, opts)]
        return [k8s.yaml.v2.ConfigGroup(name, files=manifest_paths(crds, self._config.mirror), opts=opts)]

    def _render_crds(self, name: str, chart: Chart, opts: ResourceOptions) -> k8s.helm.v4.Chart:
        """Renders a chart of CRDs here: a release stores its chart in a Secret, which is too small for large CRDs."""
        where = chart_source(chart, self._config.mirror)
        return k8s.helm.v4.Chart(
            name,
            chart=where.chart,
            version=where.version,
            repository_opts={"repo": where.repository} if where.repository else None,
            namespace=self._addon.namespace,
            values=dict(self._addon.crd_values),
            opts=opts,
        )

    def _release(
        self, name: str, chart: Chart, values: Mapping[str, Any], opts: ResourceOptions
    ) -> k8s.helm.v3.Release:
        where = chart_source(chart, self._config.mirror)
        return k8s.helm.v3.Release(
            name,
            name=name,
            chart=where.chart,
            version=where.version,
            repository_opts={"repo": where.repository} if where.repository else None,
            namespace=self._addon.namespace,
            create_namespace=False,
            skip_crds=self._addon.crds_step(self._config) is not None,
            values=dict(values),
            # A release that does not become ready is rolled back completely.
            atomic=True,
            timeout=TIMEOUT_S,
            opts=opts,
        )


def _custom_resource(
    addon: str, document: Mapping[str, Any], opts: ResourceOptions
) -> k8s.apiextensions.CustomResource:
    return k8s.apiextensions.CustomResource(
        f"{addon}-{document['kind'].lower()}",
        api_version=document["apiVersion"],
        kind=document["kind"],
        metadata=document["metadata"],
        spec=document["spec"],
        opts=opts,
    )
