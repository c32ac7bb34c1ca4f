"""A node of a cluster that kubeadm makes: the first one makes the cluster, the others join it."""

from __future__ import annotations

from infra.onprem import node
from infra.providers.resource import Difference, Found, Resource, Task, Values

COMMON = frozenset({"configuration", "control_planes", "endpoint", "pod_range"})
"""Of the cluster: needed when a node joins or leaves, and no change of the node."""


class KubernetesNode(Resource):
    """Inputs: how SSH reaches it (`infra.onprem.ssh.Address`), `stack`, `role`, `labels`, `taints`, `volumes`
    (`path`, `count`, `size`; empty: none), `control_planes` (how SSH reaches them), `endpoint`, `pod_range`,
    `configuration` (`infra.onprem.kubeadm.Configuration`; of control planes).

    Whether the cluster is there is asked of the control planes: the first one that finds none makes it.
    """

    replace_on = frozenset({"name", "address", "role", "stack"})

    def diff(self, old: Values, new: Values) -> Difference:
        found = super().diff(old, new)
        # The state must know the control planes that there are, to leave by one of them.
        changed = tuple(name for name in found.changed if name not in COMMON - {"control_planes"})
        return Difference(changed, found.replaced)

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        node.create(new, task)
        return new["name"], new

    def read(self, id: str, old: Values) -> Found:
        found = node.read(old, Task(lambda words: None))
        return Found() if found is False else Found(id, old)

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        node.update(old, new, task)
        return new

    def delete(self, id: str, old: Values, task: Task) -> None:
        node.delete(old, task)
