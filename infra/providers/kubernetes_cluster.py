"""What a cluster that kubeadm made has in common: network, storage class, version, configuration, and the way in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.cluster_config import Kubernetes
from infra.onprem import network, upgrade
from infra.onprem.cluster import ControlPlane, reach
from infra.onprem.kubeadm import Configuration
from infra.onprem.ssh import RECONNECT_S, Address
from infra.providers.problem import Problem
from infra.providers.resource import Found, Resource, Task, Values
from infra.targets import cluster as kubeconfigs


class KubernetesCluster(Resource):
    """Inputs: `hosts` (how SSH reaches them), `control_planes` (names of those that are), `configuration`
    (`infra.onprem.kubeadm.Configuration`), `manifests` (of the network and the storage class).

    Outputs: `kubeconfig` (secret; it may do everything), `identifier` (of the certificate authority).
    """

    secret_outputs = frozenset({"kubeconfig"})
    computed = frozenset({"kubeconfig", "identifier"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        outputs = self._settle(new, task)
        return outputs["identifier"], outputs

    def read(self, id: str, old: Values) -> Found:
        try:
            with _cluster(old, Task(lambda words: None), 0) as cluster:
                return Found(id, self._outputs(cluster, old))
        except Problem:
            return Found(id, old)  # whether it is there shows when its control planes answer again

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        return self._settle(new, task)

    def delete(self, id: str, old: Values, task: Task) -> None:
        """It goes with its last node."""

    def _settle(self, new: Values, task: Task) -> Values:
        configuration = Configuration.of(new["configuration"])
        hosts = {values["name"]: Address.of(values) for values in new["hosts"]}
        with _cluster(new, task) as cluster:
            for manifest in new["manifests"]:
                cluster.apply(manifest)
            cluster.wait_ready(cluster.host.name)
            upgrade.upgrade(cluster, hosts, new["control_planes"], configuration.version)
            upgrade.configure(cluster, configuration, [hosts[name] for name in new["control_planes"]])
            cluster.wait_rollout(*network.WORKLOADS)
            return self._outputs(cluster, new)

    def _outputs(self, cluster: ControlPlane, values: Values) -> Values:
        content = cluster.kubeconfig()
        return {**values, "kubeconfig": content, "identifier": kubeconfigs.read(Kubernetes(), content).identifier}


@contextmanager
def _cluster(values: Values, task: Task, patience_s: float = RECONNECT_S) -> Iterator[ControlPlane]:
    planes = [Address.of(host) for host in values["hosts"] if host["name"] in values["control_planes"]]
    with reach(planes, task, patience_s) as found:
        if found is None:
            raise Problem("no control plane has a cluster")
        yield found
