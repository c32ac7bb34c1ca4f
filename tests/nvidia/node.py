"""A node with GPUs: a root of its own for NVIDIA's programs, whose paths are fixed, and Kubernetes' API beside it.

A program gets the environment that NVIDIA's chart gives its container, with the values of our add-on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from infra.programs import Kit
from tests.nvidia.gpus import LIBRARY, Gpu, description, mig_minors, pci_address
from tools.binaries import find

Document = dict[str, Any]

NAME = "node-1"
DEVICE_PLUGINS = "var/lib/kubelet/device-plugins"
FEATURES = "etc/kubernetes/node-feature-discovery/features.d"
CONFIGS = "available-configs"
OURS = "opt/nvidia"
"""The folder of the node's programs, of NVML and of what it presents."""

PROGRAMS = {
    # NVIDIA's MPS daemon and its client: what it is told goes into a file.
    "nvidia-cuda-mps-control": f"""#!/bin/sh
[ "$1" = -d ] && exit
read -r told
echo "$told" >> /{OURS}/mps
case "$told" in get_*) echo 100.0;; esac
""",
    "nvidia-smi": f"""#!/bin/sh
echo "$@" >> /{OURS}/smi
""",
}

SETUP = """
for folder in $BOUND; do mount --rbind /$folder $ROOT/$folder; done
mount --bind $ROOT/$OURS/driver $ROOT/proc/driver
mount --bind $ROOT/$OURS/pci $ROOT/sys/bus/pci/devices
exec chroot $ROOT "$@"
"""


@dataclass(frozen=True)
class Node:
    """A node's files and its address of Kubernetes' API."""

    root: Path
    api: Api

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    def present(self, gpus: Sequence[Gpu]) -> None:
        """Replaces the node's GPUs; programs see them from their next start on."""
        self.path(OURS, "node").write_text(description(gpus))
        self.path(OURS, "events").write_text("")
        (self.path(OURS, "driver", "nvidia-caps") / "mig-minors").write_text(mig_minors(gpus))
        for folder in self.path(OURS, "pci").iterdir():
            shutil.rmtree(folder)
        for i in range(len(gpus)):
            folder = self.path(OURS, "pci", pci_address(i))
            folder.mkdir()
            # A 3D controller of NVIDIA (https://pci-ids.ucw.cz/read/PD/03) without capabilities.
            ids = {"vendor": "0x10de", "class": "0x030200", "device": "0x27b8", "numa_node": "-1"}
            ids |= {"subsystem_vendor": "0x10de", "subsystem_device": "0x16ca", "resource": "0x0 0x0 0x0"}
            for name, text in ids.items():
                (folder / name).write_text(f"{text}\n")
            (folder / "config").write_bytes(bytes(256))

    def fail(self, gpu: int, xid: int, instance: int = -1) -> None:
        """Lets a GPU, or one of its slices, have an error: https://docs.nvidia.com/deploy/xid-errors/."""
        with self.path(OURS, "events").open("a") as events:
            events.write(f"xid\t{gpu}\t{xid}\t{instance}\n")

    def install(self, kit: Kit) -> None:
        """Puts a kit's programs on the node."""
        for name, file in find.obtain(kit, own=True).files.items():
            shutil.copy(file, self.path(OURS, "bin", name))

    def configure(self, configs: Mapping[str, str], environment: Mapping[str, str]) -> str:
        """Chooses one of the configurations by the node's label, as config-manager does; returns its name.

        The environment is config-manager's.
        """
        for file in self.path(CONFIGS).iterdir():
            file.unlink()
        for name, text in configs.items():
            self.path(CONFIGS, name).write_text(text)
        chosen = self.api.labels.get(environment["NODE_LABEL"]) or environment["DEFAULT_CONFIG"]
        self.path("config", "config.yaml").write_text(configs[chosen])
        return chosen

    def run(self, *command: str, environment: Mapping[str, str]) -> str:
        """Runs a program until it ends, and returns its output; raises `AssertionError` if it fails."""
        with self.start(*command, environment=environment) as process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        return output

    @contextmanager
    def start(self, *command: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
        """Runs a program on the node, and ends it."""
        bound = [
            folder for folder in ("usr", "bin", "lib", "lib64", "dev", "proc", "sys") if Path("/", folder).exists()
        ]
        own = {
            "ROOT": str(self.root),
            "OURS": OURS,
            "BOUND": " ".join(folder for folder in bound if not Path("/", folder).is_symlink()),
            "PATH": f"/{OURS}/bin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"/{OURS}",  # where NVIDIA's container runtime mounts the driver's libraries
            "NVML_NODE": f"/{OURS}/node",
            "NVML_EVENTS": f"/{OURS}/events",
            "KUBECONFIG": f"/{OURS}/kubeconfig",
        }
        given = {name: value for name, value in environment.items() if name != "KUBECONFIG"}
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        namespace = ["unshare", *user, "--mount", "--propagation=private", "--kill-child", "--fork", "--pid"]
        process = subprocess.Popen(
            [*namespace, "sh", "-ec", SETUP, "sh", f"/{OURS}/bin/{command[0]}", *command[1:]],
            env={**given, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()


class Api(ThreadingHTTPServer):
    """Kubernetes' API, as far as config-manager and node feature discovery ask it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.labels: dict[str, str] = {}
        """The node's labels."""
        self.features: Document = {}
        """The last NodeFeature that node feature discovery wrote."""

    @property
    def kubeconfig(self) -> str:
        cluster = {"name": "it", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
        context = {"name": "it", "context": {"cluster": "it", "user": ""}}
        return yaml.safe_dump({"clusters": [cluster], "contexts": [context], "current-context": "it"})


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        metadata = {"name": NAME, "resourceVersion": "1", "labels": self.server.labels}
        if not self.path.startswith("/api/v1/nodes"):
            return self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound"})
        if "watch=" in self.path:
            return self._answer(200, None)
        node = {"kind": "Node", "apiVersion": "v1", "metadata": metadata}
        nodes = {"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [node]}
        return self._answer(200, nodes)

    def do_POST(self) -> None:
        self.server.features = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(201, self.server.features)

    def _answer(self, status: int, document: Document | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if document is not None:
            self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def node(root: Path, library: Path) -> Iterator[Node]:
    """A node without GPUs and NVIDIA's programs, in an empty folder whose path is short enough for sockets.

    `library` is NVML.
    """
    for folder in ("usr", "lib", "lib64", "bin", "dev", "proc", "sys", "tmp", "mps", "config", CONFIGS):
        if Path("/", folder).is_symlink():
            (root / folder).symlink_to(Path("/", folder).readlink())
        else:
            (root / folder).mkdir()
    for folder in (DEVICE_PLUGINS, FEATURES, f"{OURS}/bin", f"{OURS}/driver/nvidia-caps", f"{OURS}/pci"):
        (root / folder).mkdir(parents=True)
    for name, text in PROGRAMS.items():
        (root / OURS / "bin" / name).write_text(text)
        (root / OURS / "bin" / name).chmod(0o755)
    shutil.copy(library, root / OURS / LIBRARY)
    with Api() as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        (root / OURS / "kubeconfig").write_text(api.kubeconfig)
        yield Node(root, api)
        api.shutdown()
