"""Machines of the tests' own, a bundle for them, and a Pulumi stack that makes them a cluster."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.onprem_config import BINARIES
from infra.targets.layout import CHECKOUT
from infra.versions import KUBERNETES
from tools import bundle, find
from tools.cluster import cluster as test_cluster
from tools.cluster import images
from tools.cluster.kubectl import binaries
from tools.images.oci import IMAGE_NAME, REF_NAME
from tools.machines import network
from tools.machines.machine import KEY, Machine, machines
from tools.machines.root import debian_root

VERSION = find.obtain(KUBERNETES).version
SETTINGS = {"pod_range": "10.246.0.0/16", "service_range": "10.98.0.0/16", "kubernetes_version": VERSION}
NAMES = ("op-cp1", "op-cp2", "op-cp3", "op-w1", "op-w2")
ADDRESSES = dict(zip(NAMES, (f"10.251.0.{n}" for n in (41, 42, 43, 46, 47)), strict=True))
VIRTUAL_IP = "10.251.0.40"

PROGRAM = """
import pathlib
import pulumi
from infra.onprem_config import OnPrem
from infra.targets.onprem import onprem

settings = OnPrem.model_validate_json(pathlib.Path("settings.json").read_text())
pulumi.export("kubeconfig", onprem(settings, pulumi.get_stack()).kubeconfig)
"""


def make_bundle(folder: Path, work: Path, *packages: str) -> Path:
    """A bundle of what the tests' own cluster is made of, and of packages that its machines lack."""
    archive, names = test_cluster._archive()
    tools = work / "tools"
    tools.mkdir()
    for name in BINARIES:
        (tools / name).symlink_to(binaries()["kube"])
    _with_aliases(archive, work / "images.tar", images.aliases(names))
    bundle.make(
        folder,
        VERSION,
        {name: tools / name for name in BINARIES},
        [work / "images.tar"],
        _packages(work / "packages", *packages) if packages else [],
    )
    (work / "images.tar").unlink()
    return folder


def _with_aliases(archive: Path, out: Path, aliases: Mapping[str, str]) -> None:
    """The same images under further names: alias to a name in the archive."""
    with tarfile.open(archive) as source, tarfile.open(out, "w") as target:
        for member in source:
            content = source.extractfile(member)
            assert content is not None
            if member.name == "index.json":
                index = json.load(content)
                by_name = {entry["annotations"][IMAGE_NAME]: entry for entry in index["manifests"]}
                index["manifests"] += [
                    {**by_name[name], "annotations": {IMAGE_NAME: alias, REF_NAME: alias}}
                    for alias, name in aliases.items()
                ]
                data = json.dumps(index).encode()
                member.size, content = len(data), io.BytesIO(data)
            target.addfile(member, content)


def _packages(folder: Path, *names: str) -> list[Path]:
    """What the machines lack of these packages and of what they depend on, from this host's mirror."""
    (folder / "partial").mkdir(parents=True)
    status = debian_root() / "var/lib/dpkg/status"
    options = [f"-oDir::State::status={status}", f"-oDir::Cache::archives={folder}/", "-oDebug::NoLocking=1"]
    subprocess.run(
        ["apt-get", *options, "install", "-qq", "-y", "--download-only", "--no-install-recommends", *names],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return sorted(folder.glob("*.deb"))


def host(machine: Machine, **more: Any) -> dict[str, Any]:
    """A machine as a host of the settings."""
    public = (machine.folder / "ssh_host_ed25519_key.pub").read_text().strip()
    return {"name": machine.name, "address": machine.ip, "key_file": str(KEY), "host_key": public, **more}


@contextmanager
def running(*names: str) -> Iterator[dict[str, Machine]]:
    """Machines, on; wiped at the end."""
    made = {name: Machine(name, ADDRESSES[name]) for name in names}
    try:
        for machine in made.values():
            machine.wipe()
            machine.up()
        yield made
    finally:
        for machine in made.values():
            machine.wipe()
        if not machines():
            network.down()


@dataclass
class Stack:
    """A Pulumi stack with the cluster alone."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        plugin = {"name": "headrace", "path": str(CHECKOUT / "infra/providers/bin")}
        project = {"name": "headrace", "runtime": "python", "plugins": {"providers": [plugin]}}
        (self.folder / "Pulumi.yaml").write_text(json.dumps(project))
        (self.folder / "__main__.py").write_text(PROGRAM)
        (self.folder / "state").mkdir()
        self("stack", "init", "onprem")

    @property
    def environment(self) -> dict[str, str]:
        path = (str(Path(sys.executable).parent), str(find.bin_dir(["pulumi"])), os.environ["PATH"])
        return {
            **os.environ,
            "PATH": os.pathsep.join(path),
            "PULUMI_BACKEND_URL": (self.folder / "state").as_uri(),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "of a test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """Runs Pulumi; returns what it prints."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        if check and done.returncode:
            raise AssertionError(f"pulumi {' '.join(arguments)}: {done.stdout[-6000:]}")
        return done.stdout

    def wants(self, *hosts: dict[str, Any], **more: Any) -> None:
        """What the next `up` brings about."""
        self.settings = {**SETTINGS, "hosts": hosts, **more}
        (self.folder / "settings.json").write_text(json.dumps(self.settings))

    def up(self, *arguments: str) -> str:
        return self("up", "--yes", "--skip-preview", "--stack=onprem", *arguments)

    def destroy(self) -> str:
        return self("destroy", "--yes", "--skip-preview", "--stack=onprem")

    def up_until(self, happens: Callable[[str], bool], then: Callable[[], None]) -> tuple[int, str]:
        """Starts an `up` and does `then` as soon as a line of its progress says so; returns its status and text."""
        process = subprocess.Popen(
            ["pulumi", "up", "--yes", "--skip-preview", "--stack=onprem", "--non-interactive", "--color=never"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if happens(line):
                then()
                happens = _never
        return process.wait(), "".join(said)

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """kubectl with the stack's own kubeconfig."""
        file = self.folder / "kubeconfig"
        file.touch(mode=0o600)
        file.write_text(self("stack", "output", "kubeconfig", "--show-secrets", "--stack=onprem"))
        done = subprocess.run(
            [binaries()["kube"], "kubectl", f"--kubeconfig={file}", *arguments],
            input=input,
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Makes objects as they are described."""
        self.kubectl("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def _never(line: str) -> bool:
    return False


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something that takes its time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.3)


LISTING = r"""
# Not compared: logs, content of images, what the system itself writes while it runs.
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log \
  -o -path /var/lib/containerd -o -path /var/lib/dpkg -o -path /var/cache -o -path /etc/ld.so.cache \
  -o -path /var/lib/systemd -o -path /var/lib/ucf -o -name 'systemd-private-*' \
  -o -path '/etc/systemd/system/*.wants' \) -prune -o -printf 'file %p %m %u %g %y %l\n'
find /var/lib/kubelet /var/lib/etcd /tmp -mindepth 1 ! -path '*/systemd-private-*' -printf 'file %p %m %y\n'
find /etc /usr/local /opt -xdev -type f ! -path /etc/ld.so.cache -exec sha256sum {} + | sed 's/^/content /'
ls -d /run/headrace /run/netns/* /run/xtables.lock 2>/dev/null | sed 's/^/run /'
iptables-save | sed -n 's/^\(-A\|:KUBE\|:CNI\)/rule &/p'; ip6tables-save | sed -n 's/^\(-A\|:KUBE\|:CNI\)/rule6 &/p'
nft list tables | sed 's/^/table /'
ipset list -name | sed 's/^/set /'
ip -oneline link | awk '{sub(/@.*/, "", $2); print "link", $2}'
ip -oneline -4 address | awk '{print "address", $2, $4}'
ip route show table all | grep -v '^local\|^broadcast' | sed 's/^/route /'; ip rule | sed 's/^/lookup /'
for key in net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv4.conf.all.route_localnet; do
  echo "sysctl $key $(sysctl -n $key)"; done
awk '{print "mount", $2}' /proc/mounts | grep -v 'systemd\|/run/user'
ps -eo comm= | sort -u | grep -vE '^(sshd|sh|ps|sort|grep|sed|awk|find|\(sd-pam\)|systemd)$' | sed 's/^/process /'
find /sys/fs/cgroup -type d -name 'kube*' | sed 's/^/group /'
ss -Hltn | awk '{print "port", $4}' | grep -v '127.0.0.1:[3-6]....$'  # containerd's is another each time
for unit in containerd kubelet keepalived; do
  echo "unit $unit $(systemctl is-enabled $unit 2>/dev/null) $(systemctl is-active $unit)"; done
ctr --namespace k8s.io images list --quiet | sed 's/^/image /'
"""


def listing(machine: Machine) -> frozenset[str]:
    """Everything of a machine that Kubernetes could leave something in."""
    return frozenset(machine.run(["sh", "-c", LISTING]).stdout.splitlines())
