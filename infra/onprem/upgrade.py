"""A cluster's version and configuration are changed, one node at a time.

https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import yaml

from infra.onprem import kubeadm
from infra.onprem.cluster import READY_S, ControlPlane, wait
from infra.onprem.facts import gather
from infra.onprem.kubeadm import Configuration, Node
from infra.onprem.machine import link
from infra.onprem.ssh import Address, Remote
from infra.providers.problem import Problem

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Step:
    """One node's turn: `apply` changes the cluster and its first control plane, `node` each other node."""

    node: str
    kind: Literal["apply", "node"]


def plan(current: Mapping[str, str], target: str, control_planes: Sequence[str], cluster: str) -> list[Step]:
    """Steps from the kubelets' versions (by node) and the cluster's to `target`; none when all are there.

    Control planes go first: no kubelet may be newer than its API server. Raises `Problem` for a step that
    Kubernetes does not support (https://kubernetes.io/releases/version-skew-policy/).
    """
    for version in {*current.values(), cluster}:
        _check(_version(version), _version(target))
    workers = sorted(name for name in current if name not in control_planes)
    order = [name for name in control_planes if name in current]
    steps = []
    for name in [*order, *workers]:
        first = name == order[0] and _version(cluster) != _version(target)
        if first or _version(current[name]) != _version(target):
            steps.append(Step(name, "apply" if first else "node"))
    return steps


def _check(now: Version, target: Version) -> None:
    words = f"from Kubernetes {'.'.join(map(str, now))} to {'.'.join(map(str, target))}"
    if now > target:
        raise Problem(f"{words} is a downgrade, which etcd's data may not survive; keep the version")
    if target[:2] > (now[0], now[1] + 1):
        raise Problem(f"{words} leaves out a minor version; go to {now[0]}.{now[1] + 1} first")


def _version(text: str) -> Version:
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)\S*", text)
    if not found:
        raise Problem(f"'{text}' is no version of Kubernetes")
    return int(found[1]), int(found[2]), int(found[3])


def upgrade(cluster: ControlPlane, hosts: Mapping[str, Address], control_planes: Sequence[str], target: str) -> None:
    """Brings every node to `target`; one that was cut goes on where it was."""
    versions = {n["metadata"]["name"]: n["status"]["nodeInfo"]["kubeletVersion"] for n in cluster.nodes()}
    # Those that are not the settings' any more leave the cluster after this.
    current = {name: version for name, version in versions.items() if name in hosts}
    for step in plan(current, target, control_planes, version_of(cluster)):
        with Remote(hosts[step.node], cluster.task) as host:
            cluster.task.say(f"{step.node}: Kubernetes {current[step.node]} -> v{target}")
            _turn(cluster, host, step, target)


def _turn(cluster: ControlPlane, host: Remote, step: Step, target: str) -> None:
    link(host, target, ["kubeadm", "kubectl"])
    words = ("apply", f"v{target}", "--yes") if step.kind == "apply" else ("node",)
    kubeadm.run(host, "upgrade", *words, *kubeadm.ignored(gather(host).legacy_cgroups))
    cluster.drain(step.node)
    link(host, target, ["kubelet"])
    host.run("systemctl restart kubelet")

    def waiting() -> str:
        node = cluster.node(step.node)
        version = ((node or {}).get("status") or {}).get("nodeInfo", {}).get("kubeletVersion")
        return "" if version == f"v{target}" else f"its kubelet is {version}"

    wait(cluster.task, waiting, f"node {step.node}", READY_S)
    cluster.wait_ready(step.node)
    cluster.uncordon(step.node)


def version_of(cluster: ControlPlane) -> str:
    """The cluster's version, as kubeadm noted it."""
    return str(_noted(cluster)["kubernetesVersion"])


def _noted(cluster: ControlPlane) -> dict[str, object]:
    said = cluster.kubectl(
        "get", "configmap", "kubeadm-config", "--namespace=kube-system", "-o=jsonpath={.data.ClusterConfiguration}"
    )
    return dict(yaml.safe_load(said))


def configure(cluster: ControlPlane, wanted: Configuration, control_planes: Sequence[Address]) -> None:
    """Brings the API servers' arguments to what is wanted, one control plane after the other.

    Raises `Problem` for what a cluster keeps for life.
    """
    noted = _noted(cluster)
    document = kubeadm.cluster(replace(wanted, version=str(noted["kubernetesVersion"]).removeprefix("v")))
    for key, name in (("networking", "pod_range or service_range"), ("controlPlaneEndpoint", "virtual_ip")):
        if not _same(noted[key], document[key]):
            raise Problem(f"{name} of a cluster cannot be changed; put it back, or make another stack")
    args = document["apiServer"]["extraArgs"]
    if (noted.get("apiServer") or {}).get("extraArgs") != args:  # type: ignore[attr-defined]
        cluster.task.say("writing kubeadm's configuration")
        run = ("init", "phase", "upload-config", "kubeadm")
        node = Node(control_planes[0].name, control_planes[0].address, (), legacy_cgroups=False)
        kubeadm.run(cluster.host, *run, configuration=kubeadm.init(wanted, node))
    for address in control_planes:
        with Remote(address, cluster.task) as host:
            if kubeadm.is_member(host):
                _restart_api_server(host, address, wanted)


def _same(noted: object, wanted: object) -> bool:
    """kubeadm adds defaults to what it was given."""
    if isinstance(noted, dict) and isinstance(wanted, dict):
        return all(noted.get(key) == value for key, value in wanted.items())
    return noted == wanted


MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"


def _restart_api_server(host: Remote, address: Address, wanted: Configuration) -> None:
    """Writes the static pod anew; one that is as wanted is left alone."""
    node = Node(address.name, address.address, (), legacy_cgroups=False)
    before = host.output('sha256sum "$1"', MANIFEST)
    process = _api_server(host)
    kubeadm.run(host, "init", "phase", "control-plane", "apiserver", configuration=kubeadm.init(wanted, node))
    if host.output('sha256sum "$1"', MANIFEST) == before:
        return
    host.task.say(f"{host.name}: another API server")

    def waiting() -> str:
        now = _api_server(host)
        if not now or now == process:
            return "the kubelet has not restarted it"
        ready = host.succeeds("curl --silent --fail --insecure --max-time 5 https://127.0.0.1:6443/readyz >/dev/null")
        return "" if ready else "it does not answer yet"

    wait(host.task, waiting, f"the API server of {host.name}", READY_S)


def _api_server(host: Remote) -> str:
    return host.output("pgrep -x kube-apiserver || :")
