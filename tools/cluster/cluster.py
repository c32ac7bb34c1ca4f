"""The lifecycle of the test cluster: preparation, up, down and status."""

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
from infra.programs import KUBERNETES
from tools.binaries import find
from tools.bundle import IMAGES as IMAGES_FILE
from tools.cluster import bundle, image_loader, onprem, volumes
from tools.cluster.kubectl import binaries, kubectl
from tools.cluster.layout import (
    BEFORE,
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
from tools.machines.machine import Machine, all_machines
from tools.machines.root import debian_root
from tools.report import ToolError, say

_STEP = re.compile(r"\b(?:\w+: (?:Kubernetes |\d+ images|kubeadm )|waiting for )")
"""The lines in Pulumi's output with which the target reports its steps."""


@dataclass
class Progress:
    """Prints steps with their times."""

    start: float = field(default_factory=time.monotonic)
    reported: set[str] = field(default_factory=set)

    def __call__(self, what: str) -> None:
        say(f"cluster: {time.monotonic() - self.start:5.1f} s  {what}")

    def on_line(self, line: str) -> None:
        """Prints the step in a line of Pulumi's output, once, since Pulumi repeats a step when the next one begins."""
        if (found := _STEP.search(line)) and (step := line[found.start() :].strip()) not in self.reported:
            self.reported.add(step)
            self(step)


def prepare() -> None:
    """Obtains all that `up` needs: Debian packages, binaries, the machines' root file system and the images.

    Raises:
        ToolError: something cannot be obtained; the text says what to do.
    """
    host.prepare()
    host.check()
    debian_root()
    find.ensure(["pulumi"])
    bundle.cached_bundle()


def up(*, default_class: bool = True, booted: Callable[[], None] = lambda: None) -> None:
    """Brings the cluster up; if it is running, only renews released volumes and routes.

    `booted` is called when the new machines have the images that a cluster starts with, and nothing else.

    Raises:
        ToolError: this host cannot run it, or a step failed.
    """
    host.check()
    with _locked():
        if running():
            volumes.renew(kubectl, default=default_class)
            _route()
            return
        bundle_folder = bundle.cached_bundle()
        progress = Progress()
        _wipe()
        for folder in (BIN, IMAGES, VOLUMES):
            folder.mkdir(parents=True)
        (BIN / "kubectl").symlink_to(binaries()["kube"])
        network.up()
        _for_each(NODES, lambda node: node.up())
        progress("machines are up")
        image_loader.load_images(NODES, bundle_folder / IMAGES_FILE)  # ten times as fast as over SSH
        progress("images are loaded")
        booted()
        stack = onprem_stack()
        stack.configure(onprem_settings(bundle_folder, *NODES))
        if problems := onprem_problems(stack.settings):
            raise ToolError(f"the machines cannot become a cluster: {'; '.join(problems)}")
        stack.up(on_line=progress.on_line)
        KUBECONFIG.touch(mode=0o600)
        KUBECONFIG.write_text(stack.kubeconfig())
        volumes.renew(kubectl, default=default_class)
        _route()
        progress("the cluster is up")


def down() -> None:
    """Stops the cluster and deletes everything that it left on this host."""
    with _locked():
        _wipe()
        shutil.rmtree(FOLDER)


def onprem_stack() -> onprem.Stack:
    """Returns the Pulumi stack that creates the cluster."""
    return onprem.Stack(STACK)


def onprem_settings(bundle_folder: Path, *nodes: Machine) -> dict[str, Any]:
    """Returns the on-prem target's settings for these machines and a bundle."""
    return {
        "hosts": [_host(node) for node in nodes],
        "bundle": str(bundle_folder),
        "kubernetes_version": find.obtain(KUBERNETES).version,
        "pod_range": PODS,
        "service_range": SERVICES,
        "storage": {"kind": "local", "path": LOCAL_VOLUMES, "volumes": 2, "size": "2Gi", "default": False},
    }


def onprem_problems(wanted: dict[str, Any]) -> list[str]:
    """Returns the problems that the target's own checks find in settings and machines."""
    bundle_folder = OnPrem.model_validate(wanted)
    return [str(mistake) for mistake in (*mistakes(bundle_folder), *preflight.mistakes(bundle_folder, onprem.NAME))]


def running() -> bool:
    """Returns whether every machine is on and all nodes are ready."""
    if not KUBECONFIG.exists():
        return False
    for _ in range(3):  # a slow API server under load is no reason to create the cluster again
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
        raise ToolError("the cluster is not up: `.venv/bin/python -m tools.cluster up`")
    loaded: dict[str, str] = {}
    for archive in archives:
        loaded |= image_loader.load_images(WORKERS, archive)
    return loaded


def _host(node: Machine) -> dict[str, Any]:
    role = {"role": "control_plane"} if node == CONTROL_PLANE else {"pool": POOL}
    return onprem.host(node, labels={"topology.kubernetes.io/zone": ZONES[node.name]}, **role)


def _route() -> None:
    """Makes Services and pods reachable from the host: each node's pods through that node, as replies come that way."""
    network.remove_routes()
    network.route(SERVICES, CONTROL_PLANE.ip)
    subnets = kubectl("get", "nodes", "-o=jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR}{'\\n'}{end}")
    for name, subnet in (line.split() for line in subnets.splitlines()):
        network.route(subnet, Machine.load(name).ip)


def _for_each(nodes: Sequence[Machine], action: Callable[[Machine], object]) -> None:
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(action, nodes))


def _wipe() -> None:
    network.remove_routes()
    _for_each(NODES, lambda node: node.wipe())
    if not all_machines():
        network.down()
        shutil.rmtree(MACHINES, ignore_errors=True)
    for path in (BIN, IMAGES, VOLUMES, STACK):
        shutil.rmtree(path, ignore_errors=True)
    for file in (KUBECONFIG, BEFORE):
        file.unlink(missing_ok=True)


@contextmanager
def _locked() -> Iterator[None]:
    while True:
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (FOLDER / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("cluster: waiting for another process")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_nlink:  # `down` deleted the file while this process waited
                continue
            yield
            return
