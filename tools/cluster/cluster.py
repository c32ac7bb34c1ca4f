"""The cluster's life: up, down, and what it is now."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.onprem import preflight
from infra.onprem_config import OnPrem, mistakes
from infra.versions import KUBERNETES
from tools.binaries import find
from tools.bundle import IMAGES as IMAGES_FILE
from tools.cluster import bundle, load, onprem, volumes
from tools.cluster.kubectl import binaries, kubectl
from tools.cluster.layout import (
    BIN,
    CONTROL_PLANE,
    FOLDER,
    IMAGES,
    KUBECONFIG,
    LOCAL_VOLUMES,
    NODES,
    PODS,
    POOL,
    SERVICES,
    STACK,
    VOLUMES,
    WORKERS,
    ZONES,
)
from tools.machines import host, network
from tools.machines.folder import FOLDER as MACHINES
from tools.machines.machine import Machine, machines
from tools.machines.root import debian_root
from tools.report import ToolError, say

_STEP = re.compile(r"\b(?:\w+: (?:Kubernetes |\d+ images|kubeadm )|waiting for )")
"""What the target says of its steps, in Pulumi's output."""


@dataclass
class Progress:
    """Says what is done, and when."""

    start: float = field(default_factory=time.monotonic)
    said: set[str] = field(default_factory=set)

    def __call__(self, what: str) -> None:
        say(f"cluster: {time.monotonic() - self.start:5.1f} s  {what}")

    def heard(self, line: str) -> None:
        """A line that Pulumi prints; it says a step again when the next one begins."""
        if (found := _STEP.search(line)) and (step := line[found.start() :].strip()) not in self.said:
            self.said.add(step)
            self(step)


def prepare() -> None:
    """Obtains all that `up` needs: Debian's packages, the programs, the machines' root and the images.

    Raises:
        ToolError: something cannot be had; the text says what to do.
    """
    host.prepare()
    host.check()
    debian_root()
    find.ensure(["pulumi"])
    bundle.cached()


def up(*, default_class: bool = True, booted: Callable[[], None] = lambda: None) -> None:
    """Brings the cluster up; one that runs is left as it is, but for volumes that nobody holds any more and routes.

    `booted` is called when the machines are new, with the images that a cluster starts with and nothing else.

    Raises:
        ToolError: this host cannot run it, or a step failed.
    """
    host.check()
    with _locked():
        if running():
            volumes.renew(kubectl, default=default_class)
            _route()
            return
        given = bundle.cached()
        progress = Progress()
        _wipe()
        for folder in (BIN, IMAGES, VOLUMES):
            folder.mkdir(parents=True)
        (BIN / "kubectl").symlink_to(binaries()["kube"])
        network.up()
        _each(NODES, lambda node: node.up())
        progress("machines answer")
        load.load(NODES, given / IMAGES_FILE)  # which takes a tenth of the time that it takes over SSH
        progress("images are in the machines")
        booted()
        stack = made()
        stack.wants(settings(given, *NODES))
        if problems := asked(stack.settings):
            raise ToolError(f"the machines cannot become a cluster: {'; '.join(problems)}")
        stack.up(heard=progress.heard)
        KUBECONFIG.touch(mode=0o600)
        KUBECONFIG.write_text(stack.kubeconfig())
        volumes.renew(kubectl, default=default_class)
        _route()
        progress("the cluster is up")


def down() -> None:
    """Ends the cluster and deletes everything that it left on this host."""
    with _locked():
        _wipe()
        shutil.rmtree(FOLDER)


def made() -> onprem.Stack:
    """The stack that makes the cluster."""
    return onprem.Stack(STACK)


def settings(given: Path, *nodes: Machine) -> dict[str, Any]:
    """What the on-prem target is to make of these machines with a bundle."""
    return {
        "hosts": [_host(node) for node in nodes],
        "bundle": str(given),
        "kubernetes_version": find.obtain(KUBERNETES).version,
        "pod_range": PODS,
        "service_range": SERVICES,
        "storage": {"kind": "local", "path": LOCAL_VOLUMES, "volumes": 2, "size": "2Gi", "default": False},
    }


def asked(wanted: dict[str, Any]) -> list[str]:
    """What keeps machines from what is wanted of them: the target's own checks."""
    given = OnPrem.model_validate(wanted)
    return [str(mistake) for mistake in (*mistakes(given), *preflight.mistakes(given, onprem.NAME))]


def running() -> bool:
    """True when every machine is on and the API server says that all nodes are ready."""
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
    """Loads image archives into the workers; returns digests by name.

    Raises:
        ToolError: the cluster is not up.
    """
    if not running():
        raise ToolError("the cluster is not up: `python -m tools.cluster up`")
    loaded: dict[str, str] = {}
    for archive in archives:
        loaded |= load.load(WORKERS, archive)
    return loaded


def _host(node: Machine) -> dict[str, Any]:
    role = {"role": "control_plane"} if node == CONTROL_PLANE else {"pool": POOL}
    return onprem.host(node, labels={"topology.kubernetes.io/zone": ZONES[node.name]}, **role)


def _route() -> None:
    """Makes Services and pods reachable from the host: each node's pods by way of it, so that answers come back so."""
    network.unroute()
    network.route(SERVICES, CONTROL_PLANE.ip)
    subnets = kubectl("get", "nodes", "-o=jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR}{'\\n'}{end}")
    for name, subnet in (line.split() for line in subnets.splitlines()):
        network.route(subnet, Machine.named(name).ip)


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
    for path in (BIN, IMAGES, VOLUMES, STACK):
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
