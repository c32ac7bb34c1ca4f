"""Changes a cluster's version and configuration, one node at a time.

https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import yaml

from infra.onprem import kubeadm
from infra.onprem.cluster import READY_S, ControlPlane, wait_until_done
from infra.onprem.facts import gather
from infra.onprem.kubeadm import ClusterConfiguration, NodeRegistration
from infra.onprem.machine import link_binaries
from infra.onprem.ssh import RemoteHost, SshAddress
from infra.resources.problem import Problem

Version = tuple[int, int, int]


@dataclass(frozen=True)
class UpgradeStep:
    """The upgrade of one node: `apply` for the cluster with its first control plane, `node` for any other node."""

    node: str
    kind: Literal["apply", "node"]


def plan(current: Mapping[str, str], target: str, control_planes: Sequence[str], cluster: str) -> list[UpgradeStep]:
    """Returns the steps from the kubelets' versions (by node) and the cluster's version to `target`.

    Control planes are first, since no kubelet may be newer than its API server. Raises `Problem` for an upgrade that
    Kubernetes does not support (https://kubernetes.io/releases/version-skew-policy/).
    """
    for version in {*current.values(), cluster}:
        _check_supported(_parse_version(version), _parse_version(target))
    workers = sorted(name for name in current if name not in control_planes)
    order = [name for name in control_planes if name in current]
    steps = []
    for name in [*order, *workers]:
        first = name == order[0] and _parse_version(cluster) != _parse_version(target)
        if first or _parse_version(current[name]) != _parse_version(target):
            steps.append(UpgradeStep(name, "apply" if first else "node"))
    return steps


def _check_supported(now: Version, target: Version) -> None:
    change = f"from Kubernetes {'.'.join(map(str, now))} to {'.'.join(map(str, target))}"
    if now > target:
        raise Problem(f"{change} is a downgrade, which etcd's data may not survive; keep the version")
    if target[:2] > (now[0], now[1] + 1):
        raise Problem(f"{change} skips a minor version; upgrade to {now[0]}.{now[1] + 1} first")


def _parse_version(text: str) -> Version:
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)\S*", text)
    if not found:
        raise Problem(f"'{text}' is not a Kubernetes version")
    return int(found[1]), int(found[2]), int(found[3])


def upgrade(cluster: ControlPlane, hosts: Mapping[str, SshAddress], control_planes: Sequence[str], target: str) -> None:
    """Upgrades all nodes to `target`; an interrupted upgrade continues with the remaining nodes."""
    versions = {n["metadata"]["name"]: n["status"]["nodeInfo"]["kubeletVersion"] for n in cluster.nodes()}
    # Nodes that are no longer in the settings are removed from the cluster after this.
    current = {name: version for name, version in versions.items() if name in hosts}
    for step in plan(current, target, control_planes, cluster_version(cluster)):
        with RemoteHost(hosts[step.node], cluster.task) as host:
            cluster.task.say(f"{step.node}: Kubernetes {current[step.node]} -> v{target}")
            _upgrade_node(cluster, host, step, target)


def _upgrade_node(cluster: ControlPlane, host: RemoteHost, step: UpgradeStep, target: str) -> None:
    link_binaries(host, target, ["kubeadm", "kubectl"])
    arguments = ("apply", f"v{target}", "--yes") if step.kind == "apply" else ("node",)
    kubeadm.run(host, "upgrade", *arguments, *kubeadm.preflight_flags(gather(host).legacy_cgroups))
    cluster.drain(step.node)
    link_binaries(host, target, ["kubelet"])
    host.run("systemctl restart kubelet")

    def pending() -> str:
        node = cluster.node(step.node)
        version = ((node or {}).get("status") or {}).get("nodeInfo", {}).get("kubeletVersion")
        return "" if version == f"v{target}" else f"its kubelet has version {version}"

    wait_until_done(cluster.task, pending, f"node {step.node}", READY_S)
    cluster.wait_ready(step.node)
    cluster.uncordon(step.node)


def cluster_version(cluster: ControlPlane) -> str:
    """Returns the cluster's version, from kubeadm's stored configuration."""
    return str(_stored_configuration(cluster)["kubernetesVersion"])


def _stored_configuration(cluster: ControlPlane) -> dict[str, object]:
    output = cluster.kubectl(
        "get", "configmap", "kubeadm-config", "--namespace=kube-system", "-o=jsonpath={.data.ClusterConfiguration}"
    )
    return dict(yaml.safe_load(output))


def configure(cluster: ControlPlane, wanted: ClusterConfiguration, control_planes: Sequence[SshAddress]) -> None:
    """Sets the arguments of the API servers, one control plane at a time.

    Raises `Problem` if a setting differs that cannot be changed in an existing cluster.
    """
    noted = _stored_configuration(cluster)
    document = kubeadm.cluster_document(replace(wanted, version=str(noted["kubernetesVersion"]).removeprefix("v")))
    for key, name in (("networking", "pod_range or service_range"), ("controlPlaneEndpoint", "virtual_ip")):
        if not _matches(noted[key], document[key]):
            raise Problem(f"{name} of a cluster cannot be changed; restore it, or create another stack")
    args = document["apiServer"]["extraArgs"]
    if (noted.get("apiServer") or {}).get("extraArgs") != args:  # type: ignore[attr-defined]
        cluster.task.say("writing kubeadm's configuration")
        run = ("init", "phase", "upload-config", "kubeadm")
        node = NodeRegistration(control_planes[0].name, control_planes[0].address, (), legacy_cgroups=False)
        kubeadm.run(cluster.host, *run, configuration=kubeadm.init_documents(wanted, node))
    for address in control_planes:
        with RemoteHost(address, cluster.task) as host:
            if kubeadm.is_member(host):
                _restart_api_server(host, address, wanted)


def _matches(noted: object, wanted: object) -> bool:
    """Returns whether the stored value equals the wanted one, except for defaults that kubeadm added."""
    if isinstance(noted, dict) and isinstance(wanted, dict):
        return all(noted.get(key) == value for key, value in wanted.items())
    return noted == wanted


MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"


def _restart_api_server(host: RemoteHost, address: SshAddress, wanted: ClusterConfiguration) -> None:
    """Rewrites the API server's static pod, and waits for its restart if it changed."""
    node = NodeRegistration(address.name, address.address, (), legacy_cgroups=False)
    before = host.output('sha256sum "$1"', MANIFEST)
    process = _api_server_pid(host)
    kubeadm.run(host, "init", "phase", "control-plane", "apiserver", configuration=kubeadm.init_documents(wanted, node))
    if host.output('sha256sum "$1"', MANIFEST) == before:
        return
    host.task.say(f"{host.name}: restarting the API server")

    def pending() -> str:
        now = _api_server_pid(host)
        if not now or now == process:
            return "the kubelet has not restarted it yet"
        ready = host.succeeds("curl --silent --fail --insecure --max-time 5 https://127.0.0.1:6443/readyz >/dev/null")
        return "" if ready else "it does not answer yet"

    wait_until_done(host.task, pending, f"the API server of {host.name}", READY_S)


def _api_server_pid(host: RemoteHost) -> str:
    return host.output("pgrep -x kube-apiserver || :")
