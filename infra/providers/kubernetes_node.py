"""A node of a kubeadm cluster: the first one creates the cluster, the others join it."""

from __future__ import annotations

from infra.onprem import node
from infra.resources.resource import Difference, Found, Resource, Task, Values

CLUSTER_INPUTS = frozenset({"configuration", "control_planes", "endpoint", "pod_range"})
"""Inputs about the cluster, used when a node joins or leaves. Their changes do not change the node."""


class KubernetesNodeProvider(Resource):
    """Inputs: the host's SSH address (`infra.onprem.ssh.SshAddress`), `stack`, `role`, `labels`, `taints`, `volumes`
    (`path`, `count`, `size`; empty: none), `control_planes` (their SSH addresses), `endpoint`, `pod_range`,
    `configuration` (`infra.onprem.kubeadm.ClusterConfiguration`; control planes only).

    If no control plane has a cluster yet, the node creates it.
    """

    replace_on = frozenset({"name", "address", "role", "stack"})

    def diff(self, old: Values, new: Values) -> Difference:
        found = super().diff(old, new)
        # The state must list the current control planes: a node needs one of them to leave the cluster.
        changed = tuple(name for name in found.changed if name not in CLUSTER_INPUTS - {"control_planes"})
        return Difference(changed, found.replaced)

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        node.create(new, task)
        return new["name"], new

    def read(self, id: str, old: Values) -> Found:
        found = node.is_node(old, Task(lambda words: None))
        return Found() if found is False else Found(id, old)

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        node.update(old, new, task)
        return new

    def delete(self, id: str, old: Values, task: Task) -> None:
        node.delete(old, task)
