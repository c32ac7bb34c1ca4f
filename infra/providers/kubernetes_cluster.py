"""The cluster-wide parts of a kubeadm cluster: network, storage class, version, configuration and kubeconfig."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.cluster_config import Kubernetes
from infra.kubernetes import cluster as kubeconfigs
from infra.onprem import network, upgrade
from infra.onprem.cluster import ControlPlane, connect_control_plane
from infra.onprem.kubeadm import ClusterConfiguration
from infra.onprem.ssh import RECONNECT_S, SshAddress
from infra.resources.problem import Problem
from infra.resources.resource import Found, Resource, Task, Values


class KubernetesClusterProvider(Resource):
    """Inputs: `hosts` (their SSH addresses), `control_planes` (names), `configuration`
    (`infra.onprem.kubeadm.ClusterConfiguration`), `manifests` (of the network and the storage class).

    Outputs: `kubeconfig` (secret; of an administrator), `identifier` (digest of the certificate authority).
    """

    secret_outputs = frozenset({"kubeconfig"})
    computed = frozenset({"kubeconfig", "identifier"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        outputs = self._settle(new, task)
        return outputs["identifier"], outputs

    def read(self, id: str, old: Values) -> Found:
        try:
            with _connect(old, Task(lambda words: None), 0) as cluster:
                return Found(id, self._outputs(cluster, old))
        except Problem:
            return Found(id, old)  # no control plane answers: assume that nothing has changed

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        return self._settle(new, task)

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Does nothing: the cluster ends with its last node."""

    def _settle(self, new: Values, task: Task) -> Values:
        configuration = ClusterConfiguration.from_values(new["configuration"])
        hosts = {values["name"]: SshAddress.from_values(values) for values in new["hosts"]}
        with _connect(new, task) as cluster:
            for manifest in new["manifests"]:
                cluster.apply(manifest)
            cluster.wait_ready(cluster.host.name)
            upgrade.upgrade(cluster, hosts, new["control_planes"], configuration.version)
            upgrade.configure(cluster, configuration, [hosts[name] for name in new["control_planes"]])
            cluster.wait_rollout(*network.WORKLOADS)
            return self._outputs(cluster, new)

    def _outputs(self, cluster: ControlPlane, values: Values) -> Values:
        content = cluster.kubeconfig()
        return {
            **values,
            "kubeconfig": content,
            "identifier": kubeconfigs.read_kubeconfig(Kubernetes(), content).identifier,
        }


@contextmanager
def _connect(values: Values, task: Task, patience_s: float = RECONNECT_S) -> Iterator[ControlPlane]:
    planes = [SshAddress.from_values(host) for host in values["hosts"] if host["name"] in values["control_planes"]]
    with connect_control_plane(planes, task, patience_s) as found:
        if found is None:
            raise Problem("the cluster does not exist on any control plane")
        yield found
