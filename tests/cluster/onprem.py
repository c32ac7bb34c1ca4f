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
from infra.versions import KUBERNETES, Kit
from tests.cluster.images import Image
from tests.servers import Postgres
from tests.stacks import Stack as ProductStack
from tests.stacks import test_settings
from tools import bundle, find
from tools.cluster import images
from tools.cluster.kubectl import binaries
from tools.cluster.layout import IMAGES, IMAGES_INSIDE
from tools.images.oci import IMAGE_NAME, REF_NAME
from tools.machines import network
from tools.machines.machine import KEY, Machine, Mount, machines
from tools.machines.root import debian_root
from tools.question import QUESTION
from tools.workspace import BACKEND

VERSION = find.obtain(KUBERNETES).version
SETTINGS = {"pod_range": "10.246.0.0/16", "service_range": "10.98.0.0/16", "kubernetes_version": VERSION}
NAMES = ("op-cp1", "op-cp2", "op-cp3", "op-w1", "op-w2")
ADDRESSES = dict(zip(NAMES, (f"10.251.0.{n}" for n in (41, 42, 43, 46, 47)), strict=True))
VIRTUAL_IP = "10.251.0.40"
UP_S = 900
NAME = "test-onprem"
"""Of the product's own stack."""

PROGRAM = """
import pathlib
import pulumi
from infra.onprem_config import OnPrem
from infra.targets.onprem import onprem

settings = OnPrem.model_validate_json(pathlib.Path("settings.json").read_text())
pulumi.export("kubeconfig", onprem(settings, pulumi.get_stack()).kubeconfig)
"""


def application(documents: Path, serving: Image, charts: Path, database: Postgres) -> dict[str, Any]:
    """The settings of the local stack's tests, on the machines of pool `workers`."""
    local = test_settings(documents)
    models = [{**model, "pool": "serving", "cpus": 0.5} for model in local["models"]]
    return {name: local[name] for name in ("aliases", "assistants", "knowledge")} | {
        "target": "onprem",
        "models": models,
        "image": serving.settings(),
        "pools": [
            {
                "name": "serving",
                "node_pool": "workers",
                "replicas": 1,
                "cpus": 2,
                "reserved_cpus": 0.4,
                "memory": "3Gi",
            }
        ],
        "gateway": {"replicas": 1, "cpus": 0.3},
        "retrieval": {"replicas": 1, "cpus": 0.2},
        "database": {"kind": "url", "url": database.database()},
        "data": {"access_mode": "ReadWriteOnce", "storage": "1Gi"},
        # The machines have no GPU: one says that it has, as a device plugin would make it say.
        "addons": {"kuberay": "install", "monitoring": "off", "gpu": "off"},
        "mirror": {"charts": str(charts)},
    }


def make_bundle(folder: Path, work: Path, *packages: str, kit: Kit = KUBERNETES) -> Path:
    """A bundle of what the tests' own cluster is made of, and of packages that its machines lack."""
    found = find.obtain(kit)
    files = {**binaries(), **found.files}
    listed = subprocess.run(
        [files["kube"], "kubeadm", "config", "images", "list", f"--kubernetes-version=v{found.version}"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = listed.stdout.split()
    if kit is KUBERNETES:
        archive = images.archive(files, names)
    else:
        images.write(archive := work / "others.tar", files, names)
    tools = work / "tools"
    tools.mkdir()
    for name in BINARIES:
        (tools / name).symlink_to(files["kube"])
    _with_aliases(archive, work / "images.tar", images.aliases(names))
    bundle.make(
        folder,
        found.version,
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
    options = (f"-oDir::State::status={status}", f"-oDir::Cache::archives={folder}/", "-oDebug::NoLocking=1")
    fetch = ["apt-get", *options, "-oAPT::Sandbox::User=root", "install", "-qq", "-y", "--download-only"]
    fetch += ["--no-install-recommends", *names]
    if subprocess.run(fetch, capture_output=True).returncode:  # a host whose lists are old, or that has none
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(fetch, check=True, stdout=subprocess.DEVNULL)
    return sorted(folder.glob("*.deb"))


def host(machine: Machine, **more: Any) -> dict[str, Any]:
    """A machine as a host of the settings."""
    public = (machine.folder / "ssh_host_ed25519_key.pub").read_text().strip()
    return {"name": machine.name, "address": machine.ip, "key_file": str(KEY), "host_key": public, **more}


@contextmanager
def running(*names: str) -> Iterator[dict[str, Machine]]:
    """Machines, on; wiped at the end. They see the folder that `load` shares."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    made = {name: Machine(name, ADDRESSES[name], (Mount(str(IMAGES), IMAGES_INSIDE, True),)) for name in names}
    try:
        for machine in made.values():
            machine.wipe()
            machine.up()
        for machine in made.values():
            machine.run(["systemctl", "is-system-running", "--wait"], check=False)
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
        self.pulumi("stack", "init", "onprem")

    def wants(self, *hosts: dict[str, Any], **more: Any) -> None:
        """What the next `up` brings about."""
        self.settings = {**SETTINGS, "hosts": hosts, **more}
        self._write()

    def up(self, *arguments: str) -> str:
        (self.folder / "kubeconfig").unlink(missing_ok=True)
        return self._run(self._up(*arguments))

    def destroy(self) -> str:
        return self.pulumi("destroy", "--yes", "--skip-preview", "--stack=onprem")

    def up_until(self, happens: Callable[[str], bool], then: Callable[[], None]) -> tuple[int, str]:
        """Starts an `up` and does `then` as soon as a line of its progress says so; returns its status and text."""
        process = subprocess.Popen(
            self._up(),
            cwd=self._home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
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

    def pulumi(self, *arguments: str) -> str:
        """Runs Pulumi; returns what it prints."""
        return self._run(["pulumi", *arguments, "--non-interactive", "--color=never"])

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """kubectl with the stack's own kubeconfig."""
        file = self.folder / "kubeconfig"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(self._kubeconfig())
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

    def state(self) -> str:
        """All that Pulumi keeps."""
        return "".join(file.read_text() for file in (self.folder / "state").rglob("*.json"))

    @property
    def _home(self) -> Path:
        return self.folder

    @property
    def _environment(self) -> dict[str, str]:
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

    def _write(self) -> None:
        (self.folder / "settings.json").write_text(json.dumps(self.settings))

    def _up(self, *arguments: str) -> list[str]:
        options = ("--yes", "--skip-preview", "--stack=onprem", "--non-interactive", "--color=never")
        return ["pulumi", "up", *options, *arguments]

    def _kubeconfig(self) -> str:
        return self.pulumi("stack", "output", "kubeconfig", "--show-secrets", "--stack=onprem")

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=UP_S,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-6000:]}"
        return done.stdout


@dataclass
class Whole(Stack):
    """The product's own stack in this checkout: the cluster, and the application on it.

    `application` is what its settings say beside `headrace:onprem`.
    """

    application: dict[str, Any] = field(default_factory=dict)
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.own = ProductStack(NAME)

    def destroy(self) -> str:
        if not self.own.file.exists():
            return ""
        said = self._run([sys.executable, "-m", "tools.stack", "purge"])
        self.own.file.unlink()
        return said

    def pulumi(self, *arguments: str) -> str:
        return self.own.run("pulumi", *arguments)

    def state(self) -> str:
        return "".join(file.read_text() for file in BACKEND.rglob(f"{self.own.name}*.json"))

    @property
    def _home(self) -> Path:
        return CHECKOUT

    @property
    def _environment(self) -> dict[str, str]:
        # An `up` that finds the stack running asks a question too.
        return {**os.environ, "STACK": self.own.name, "HEADRACE_QUESTION": QUESTION}

    def _write(self) -> None:
        if self.own.file.exists():
            self.own.change(onprem=self.settings)
            return
        self.own.configure(**self.application, onprem=self.settings)
        self.pulumi("config", "set", "--secret", "--path", "headrace:database.password", self.password)

    def _up(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tools.stack", "up", "--", *arguments]

    def _kubeconfig(self) -> str:
        return self.pulumi("stack", "output", "kubeconfig", "--show-secrets")


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
  -o -path /var/lib/containerd -o -path /var/lib/dpkg -o -path /var/backups -o -path /var/cache \
  -o -path /etc/ld.so.cache \
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
