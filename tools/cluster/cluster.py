"""The cluster's life: up, down, and what it is now."""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from infra.onprem.network import IMAGE, WORKLOADS, manifest
from infra.onprem.template import text
from infra.versions import COREDNS, KUBERNETES, Kit
from tools import find
from tools.cluster import images, load, volumes
from tools.cluster.kubectl import binaries, kubectl
from tools.cluster.layout import (
    BIN,
    CONTROL_PLANE,
    FOLDER,
    IMAGES,
    IMAGES_INSIDE,
    KUBECONFIG,
    PODS,
    SERVICES,
    VOLUMES,
    VOLUMES_INSIDE,
    WORKER,
)
from tools.cluster.template import fill
from tools.machines import host, network
from tools.machines.folder import FOLDER as MACHINES
from tools.machines.machine import Machine, Mount, machines
from tools.machines.root import debian_root
from tools.report import ToolError, say

NODES = (CONTROL_PLANE, WORKER)
READY_S = 300


@dataclass
class Progress:
    """Says what is done, and when."""

    start: float = field(default_factory=time.monotonic)

    def __call__(self, what: str) -> None:
        say(f"cluster: {time.monotonic() - self.start:5.1f} s  {what}")


def prepare() -> None:
    """Obtains all that `up` needs: Debian's packages, the programs, the machines' root and the images.

    Raises:
        ToolError: something cannot be had; the text says what to do.
    """
    host.prepare()
    host.check()
    debian_root()
    _archive()


def up(*, default_class: bool = True) -> None:
    """Brings the cluster up; one that runs is left as it is, but for volumes that nobody holds any more.

    Raises:
        ToolError: this host cannot run it, or a step failed.
    """
    host.check()
    with _locked():
        if running():
            volumes.renew(kubectl, default=default_class)
            return
        archive, names = _archive()
        progress = Progress()
        _wipe()
        for folder in (BIN, IMAGES, VOLUMES):
            folder.mkdir(parents=True)
        (BIN / "kubectl").symlink_to(binaries()["kube"])
        nodes = [_with_mounts(node) for node in NODES]
        network.up()
        _each(nodes, lambda node: node.up())
        progress("machines answer")
        pause = images.named(names, "pause")
        _each(nodes, lambda node: _install(node, pause))
        load.load(nodes, archive, images.aliases(names))
        progress("images are in the machines")
        _init(nodes[0])
        progress("the API server is up")
        kubectl("apply", "--filename=-", input=manifest(IMAGE, PODS, SERVICES, CONTROL_PLANE.ip))
        _join(nodes[1])
        progress("the worker has joined")
        volumes.renew(kubectl, default=default_class)
        kubectl("wait", "--for=condition=Ready", "node", "--all", f"--timeout={READY_S}s")
        _route()
        progress("nodes are ready")
        for workload in WORKLOADS:
            kubectl("--namespace=kube-system", "rollout", "status", workload, f"--timeout={READY_S}s")
        progress("network, Services and names work")


def down() -> None:
    """Ends the cluster and deletes everything that it left on this host."""
    with _locked():
        _wipe()
        shutil.rmtree(FOLDER)


def running() -> bool:
    """True when every machine is on and the API server says that both nodes are ready."""
    if not KUBECONFIG.exists():
        return False
    for _ in range(3):  # an API server under load may be late, and not to know is no reason to make all anew
        if any(node.pid is None for node in NODES):
            return False
        with contextlib.suppress(ToolError):
            return _ready() >= {node.name for node in NODES}
    return False


def _ready() -> set[str]:
    nodes = json.loads(kubectl("get", "nodes", "-o", "json", "--request-timeout=20s"))["items"]
    return {
        node["metadata"]["name"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def load_archives(archives: Sequence[Path]) -> dict[str, str]:
    """Loads image archives into the machines; returns digests by name.

    Raises:
        ToolError: the cluster is not up.
    """
    if not running():
        raise ToolError("the cluster is not up: `python -m tools.cluster up`")
    loaded: dict[str, str] = {}
    for archive in archives:
        loaded |= load.load(NODES, archive)
    return loaded


def _archive() -> tuple[Path, tuple[str, ...]]:
    names = _image_names()
    return images.archive(binaries(), names), names


def _image_names() -> tuple[str, ...]:
    """The images that kubeadm would pull."""
    done = subprocess.run(
        [binaries()["kube"], "kubeadm", "config", "images", "list", "--config=/dev/stdin"],
        input=_kubeadm(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ToolError(f"kubeadm config images list: {done.stderr.strip()}")
    return tuple(done.stdout.split())


def _kubeadm() -> str:
    return fill(
        "kubeadm.yaml",
        address=CONTROL_PLANE.ip,
        name=CONTROL_PLANE.name,
        zone="a",
        kubernetes=_version(KUBERNETES),
        coredns=_version(COREDNS),
        pods=PODS,
        services=SERVICES,
        reserved=f"{psutil.virtual_memory().total // len(NODES) >> 20}Mi",
    )


def _version(kit: Kit) -> str:
    return find.obtain(kit).version


def _with_mounts(node: Machine) -> Machine:
    return replace(
        node,
        mounts=(
            Mount(str(binaries()["kube"].resolve()), "/usr/local/bin/kube", read_only=True),
            Mount(str(IMAGES), IMAGES_INSIDE, read_only=True),
            Mount(str(VOLUMES), VOLUMES_INSIDE),
        ),
    )


def _install(node: Machine, pause: str) -> None:
    """What a host needs before kubeadm: the container runtime's settings, the kubelet's unit, forwarding."""
    _put(node, "/etc/containerd/config.toml", fill("containerd.toml", pause=pause))
    _put(node, "/etc/systemd/system/kubelet.service", text("kubelet.service"))
    _put(node, "/etc/sysctl.d/90-kubernetes.conf", "net.ipv4.ip_forward=1\nnet.bridge.bridge-nf-call-iptables=1\n")
    script = """
        for name in kubeadm kubectl kubelet; do ln -sf kube /usr/local/bin/$name; done
        sysctl --quiet --load=/etc/sysctl.d/90-kubernetes.conf
        systemctl daemon-reload
        systemctl restart containerd
        systemctl enable --quiet kubelet
    """
    node.run(["sh", "-ec", script])


def _init(node: Machine) -> None:
    _put(node, "/etc/kubernetes/init.yaml", _kubeadm())
    node.run(["kubeadm", "init", "--config=/etc/kubernetes/init.yaml", "--skip-token-print"])
    KUBECONFIG.touch(mode=0o600)
    KUBECONFIG.write_text(node.run(["cat", "/etc/kubernetes/admin.conf"]).stdout)


def _join(node: Machine) -> None:
    said = CONTROL_PLANE.run(["kubeadm", "token", "create", "--print-join-command"]).stdout
    found = re.search(r"--token (\S+) --discovery-token-ca-cert-hash (\S+)", said)
    if not found:
        raise ToolError(f"kubeadm token create printed no join command: {said.strip()}")
    config = fill(
        "join.yaml",
        server=CONTROL_PLANE.ip,
        token=found[1],
        ca=found[2],
        name=node.name,
        address=node.ip,
        zone="b",
    )
    _put(node, "/etc/kubernetes/join.yaml", config)
    node.run(["kubeadm", "join", "--config=/etc/kubernetes/join.yaml"])


def _route() -> None:
    """Makes Services and pods reachable from the host: each node's pods by way of it, so that answers come back so."""
    network.route(SERVICES, CONTROL_PLANE.ip)
    subnets = kubectl("get", "nodes", "-o=jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR}{'\\n'}{end}")
    for name, subnet in (line.split() for line in subnets.splitlines()):
        network.route(subnet, Machine.named(name).ip)


def _put(node: Machine, path: str, content: str) -> None:
    folder, file = shlex.quote(str(Path(path).parent)), shlex.quote(path)
    node.run(["sh", "-ec", f"mkdir -p {folder}; cat >{file}"], input=content)


def _each(nodes: Sequence[Machine], action: Callable[[Machine], object]) -> None:
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(action, nodes))


def _wipe() -> None:
    network.unroute()
    for node in NODES:
        node.wipe()
    if not machines():
        network.down()
        shutil.rmtree(MACHINES, ignore_errors=True)
    for path in (BIN, IMAGES, VOLUMES):
        shutil.rmtree(path, ignore_errors=True)
    KUBECONFIG.unlink(missing_ok=True)


@contextmanager
def _locked() -> Iterator[None]:
    while True:
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (FOLDER / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("cluster: another process is at it, waiting")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_nlink:  # `down` deleted it while this process waited
                continue
            yield
            return
