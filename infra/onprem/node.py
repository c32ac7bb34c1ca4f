"""Adds a prepared host to the cluster as a node, and removes it."""

from __future__ import annotations

from collections.abc import Sequence

from infra.onprem import kubeadm, storage
from infra.onprem.cluster import READY_S, ControlPlane, connect_control_plane, is_api_ready, wait_until_done
from infra.onprem.facts import gather
from infra.onprem.kubeadm import MEMBER_FILE, ClusterConfiguration, NodeRegistration, is_member
from infra.onprem.machine import owner, run_file
from infra.onprem.ssh import REMOVAL_PATIENCE_S, AccessRefused, HostUnreachable, RemoteHost, SshAddress
from infra.resources.problem import Problem
from infra.resources.resource import Task, Values

RESET_S = 300


def create(values: Values, task: Task) -> None:
    """Makes the host a node, or continues an interrupted run. Does nothing if it is a node already."""
    others = _control_planes(values, but=values["name"])
    with RemoteHost(SshAddress.from_values(values), task) as host, connect_control_plane(others, task) as found:
        _wait_for_kubeadm(host)
        cluster = found
        if cluster is None and values["role"] == "control_plane":
            _init(host, values)
            cluster = ControlPlane(host)
            wait_until_done(task, lambda: "" if is_api_ready(host) else "it does not answer", "the API server", READY_S)
        elif cluster is None:
            raise Problem(f"{host.name} cannot join: no control plane has a cluster")
        else:
            _join(host, values, cluster)
            cluster.wait_ready(host.name)
        configure_node(host, cluster, {}, values)


def update(old: Values, new: Values, task: Task) -> None:
    """Changes labels, taints and volumes of a node."""
    with (
        RemoteHost(SshAddress.from_values(new), task) as host,
        connect_control_plane(_control_planes(new), task) as cluster,
    ):
        if cluster is None:
            raise Problem(f"{host.name}: the cluster does not exist; run `pulumi refresh`")
        configure_node(host, cluster, old, new)


def configure_node(host: RemoteHost, cluster: ControlPlane, old: Values, new: Values) -> None:
    """Sets a node's labels, taints and volumes."""
    name = new["name"]
    cluster.label(name, new["labels"], old.get("labels", {}))
    cluster.taint(name, new["taints"], old.get("taints", ()))
    if volumes := new["volumes"]:
        folders = [storage.volume_folder(volumes, number) for number in range(volumes["count"])]
        host.run('mkdir -p "$@"', *folders)
        cluster.apply(storage.volumes(name, volumes))


def delete(values: Values, task: Task) -> None:
    """Removes a node from the cluster and Kubernetes from the host. A host that does not answer is left unchanged."""
    others = _control_planes(values, but=values["name"])
    host = RemoteHost(SshAddress.from_values(values), task)
    try:
        host.connect(REMOVAL_PATIENCE_S)
    except HostUnreachable as e:
        task.say(f"{e}\n{host.name} is removed from the cluster, but Kubernetes stays on the host")
        _remove_lost_node(values, others, task)
        return
    with host, connect_control_plane(others, task) as cluster:
        if cluster and cluster.node(host.name):
            cluster.drain(host.name)
        reset_host(host, values["pod_range"])
        if cluster:
            _remove_objects(cluster, values)
    if values["volumes"]:
        _remove_folders(values, task)


def _control_planes(values: Values, but: str = "") -> list[SshAddress]:
    return [SshAddress.from_values(plane) for plane in values["control_planes"] if plane["name"] != but]


def _remove_lost_node(values: Values, others: Sequence[SshAddress], task: Task) -> None:
    with connect_control_plane(others, task) as cluster:
        if cluster and cluster.node(values["name"]):
            cluster.kubectl("cordon", values["name"])
            _remove_objects(cluster, values)


def _remove_objects(cluster: ControlPlane, values: Values) -> None:
    cluster.remove_node(values["name"], values["address"])
    if values["volumes"]:
        cluster.kubectl("delete", "persistentvolume", f"--selector={storage.NODE}={values['name']}", "--wait=false")


def _remove_folders(values: Values, task: Task) -> None:
    """Removes the folders of volumes if they are empty; data that pods left there is kept."""
    with RemoteHost(SshAddress.from_values(values), task) as host:
        script = """
[ -d "$1" ] || exit 0
find "$1" -mindepth 1 -maxdepth 1 -type d -empty -delete
rmdir "$1" 2>/dev/null || echo "data remains in $1"
"""
        if message := host.output(script, values["volumes"]["path"], what="removing empty volumes"):
            task.say(f"{host.name}: {message}")


def reset_host(host: RemoteHost, pod_range: str) -> None:
    """Removes Kubernetes from the host, which stays prepared."""
    host.task.say(f"{host.name}: kubeadm reset")
    if host.succeeds("command -v kubeadm"):
        kubeadm.run(host, "reset", "--force", f"--cri-socket={kubeadm.SOCKET}")
    run_file(host, "clean.sh", pod_range, timeout_s=RESET_S)


def _wait_for_kubeadm(host: RemoteHost) -> None:
    """Waits for the kubeadm of an earlier run, which continues even if the connection was lost."""
    script = f"[ ! -e /run/headrace/lock ] || flock --wait {kubeadm.LOCK_PATIENCE_S} /run/headrace/lock true"
    host.run(script, timeout_s=kubeadm.LOCK_PATIENCE_S + 30, what="waiting for an earlier kubeadm")


def _init(host: RemoteHost, values: Values) -> None:
    if is_member(host):
        _start_kubelet(host)
        return
    _clear_partial_join(host, values)
    host.task.say(f"{host.name}: kubeadm init")
    node = _registration(host, values)
    host.run("systemctl enable --quiet kubelet")
    configuration = kubeadm.init_documents(ClusterConfiguration.from_values(values["configuration"]), node)
    kubeadm.run(host, "init", "--skip-token-print", configuration=configuration, member=True)


def _join(host: RemoteHost, values: Values, cluster: ControlPlane) -> None:
    name = host.name
    authority = cluster.host.output(f"cat {MEMBER_FILE}")
    if is_member(host) and cluster.node(name):
        if host.output(f"cat {MEMBER_FILE}") != authority:
            raise Problem(f"{name} is a node of another cluster; remove it from that one first")
        _start_kubelet(host)
        return
    _clear_partial_join(host, values)
    # An interrupted run may have left a node object: a joining host must be new to the cluster.
    cluster.remove_node(name, values["address"])
    host.task.say(f"{name}: kubeadm join")
    host.run("systemctl enable --quiet kubelet")
    with cluster.join_credentials(control_plane=values["role"] == "control_plane") as (token, hash, key):
        configuration = kubeadm.join_documents(_registration(host, values), values["endpoint"], token, hash, key)
        kubeadm.run(host, "join", configuration=configuration, member=True)


def _registration(host: RemoteHost, values: Values) -> NodeRegistration:
    return NodeRegistration(values["name"], values["address"], values["taints"], gather(host).legacy_cgroups)


def _start_kubelet(host: RemoteHost) -> None:
    host.run("systemctl enable --quiet --now kubelet")


def _clear_partial_join(host: RemoteHost, values: Values) -> None:
    """Removes the remains of an interrupted run. Raises `Problem` if the host was not prepared for this stack."""
    if owner(host) != values["stack"]:
        raise Problem(f"{host.name} was not prepared for stack '{values['stack']}'")
    if host.output("ls -d /etc/kubernetes/*.conf /etc/kubernetes/manifests/* /var/lib/kubelet/*.* 2>/dev/null || :"):
        host.task.say(f"{host.name}: removing the remains of an interrupted run")
        reset_host(host, values["pod_range"])


def is_node(values: Values, task: Task) -> bool | None:
    """Returns whether the host is a node of the cluster; None if it cannot be reached."""
    try:
        with RemoteHost(SshAddress.from_values(values), task) as host:
            return is_member(host)
    except (HostUnreachable, AccessRefused):
        return None
