"""The target `onprem`: prepares hosts over SSH; the first control plane creates the cluster, the others join it."""

from __future__ import annotations

import pulumi
from pulumi import ResourceOptions

from infra.onprem import network, storage
from infra.onprem.inputs import ResourceInputs
from infra.onprem_config import Host, OnPrem
from infra.resources.declared import KubernetesCluster, KubernetesNode, Machine
from infra.resources.provisioned_cluster import ProvisionedCluster

LEFTOVERS = (
    "logs on the hosts: in the journal, and those of kubeadm in /var/log/headrace",
    "data that pods wrote to volumes, on the hosts in the folder headrace:onprem.storage.path",
)


class OnPremCluster(pulumi.ComponentResource):
    """The hosts of one stack, and their cluster."""

    def __init__(self, inputs: ResourceInputs) -> None:
        super().__init__("headrace:onprem:Cluster", "onprem")
        self._inputs = inputs
        self._own = ResourceOptions(parent=self)
        settings = inputs.settings
        self.machines = {
            host.name: Machine(f"machine-{host.name}", inputs.machine(host), self._own) for host in settings.hosts
        }
        first, *others = settings.control_planes
        self.nodes = [self._node(first)]
        # The cluster resource performs upgrades, before which all machines must have the new version.
        self.cluster = KubernetesCluster(
            "cluster", inputs.cluster(), self._options(*self.nodes, *self.machines.values())
        )
        for host in others:  # etcd takes one new member at a time
            self.nodes.append(self._node(host, self.cluster, self.nodes[-1]))
        planes = self.nodes[-1]
        self.nodes += [self._node(host, self.cluster, planes) for host in settings.workers]
        self.register_outputs({"kubeconfig": self.cluster.kubeconfig})

    @property
    def provisioned(self) -> ProvisionedCluster:
        """The cluster, for the stack on it."""
        return ProvisionedCluster(
            kubeconfig=self.cluster.kubeconfig,
            identifier=self.cluster.identifier,
            owner=self.cluster,
            ready=self.nodes,
            storage_class=storage.CLASS if self._inputs.settings.storage.kind == "local" else "",
            leftovers=LEFTOVERS,
        )

    def _node(self, host: Host, *after: pulumi.Resource) -> KubernetesNode:
        opts = self._options(self.machines[host.name], *after)
        return KubernetesNode(f"node-{host.name}", self._inputs.node(host), opts)

    def _options(self, *resources: pulumi.Resource) -> ResourceOptions:
        return ResourceOptions.merge(self._own, ResourceOptions(depends_on=list(resources)))


def provision_onprem(settings: OnPrem, stack: str, image: str = network.IMAGE) -> ProvisionedCluster:
    """Plans the cluster and its nodes; `image` is the reference of kube-router's image."""
    return OnPremCluster(ResourceInputs(settings, stack, image)).provisioned
