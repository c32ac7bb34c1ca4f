"""A host is made ready for kubeadm, and made again what it was.

Every file is written only where its content differs, and what was there before is kept on the host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from infra.onprem.bundle import OfflineBundle
from infra.onprem.facts import HostFacts, gather
from infra.onprem.kubeadm import is_member
from infra.onprem.preflight import missing_packages
from infra.onprem.ssh import CommandFailed, RemoteHost
from infra.onprem.template import read_file, render
from infra.onprem_config import BINARIES
from infra.providers.problem import Problem
from infra.providers.resource import Values

PROGRAMS = "/opt/headrace"
"""Folder of Kubernetes' binaries, by version: an upgrade switches from one to the other."""
UPLOAD_S = 1800
PACKAGES_S = 900

CONTAINERD = "/etc/containerd/config.toml"
SYSCTL = "/etc/sysctl.d/90-headrace-kubernetes.conf"
MODULES = "/etc/modules-load.d/headrace-kubernetes.conf"
KUBELET = "/etc/systemd/system/kubelet.service"
KEEPALIVED = "/etc/keepalived/keepalived.conf"


@dataclass(frozen=True)
class MachineSpec:
    """What a host is to be: the inputs of a `Machine`."""

    stack: str
    address: str
    kubernetes_version: str
    bundle: str
    downloads: str
    checksums: Mapping[str, str]
    gpus: int
    driver: str
    virtual_ip: str
    """Empty where the host has no part in it."""
    interface: str
    peers: Sequence[str]
    """Addresses of all hosts that may have the virtual IP, the first choice first."""

    @classmethod
    def from_values(cls, values: Values) -> MachineSpec:
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


def run_file(host: RemoteHost, file: str, *arguments: str, **options: object) -> str:
    """Runs one of our scripts, with what all of them use; returns what it prints."""
    script = f"{read_file('library.sh')}\n{read_file(file)}"
    return host.output(script, *arguments, what=file, **options)


def write_file(host: RemoteHost, path: str, content: str, mode: int = 0o644) -> bool:
    """True when there was something else at `path`."""
    script = f'{read_file("library.sh")}\nwrite "$1" "$2"'
    return host.output(script, path, f"{mode:o}", input=content, what=f"writing {path}") == "changed"


def restore_file(host: RemoteHost, path: str) -> None:
    """Puts back what was at `path` before us."""
    host.run(f'{read_file("library.sh")}\nrestore "$1"', path, what=f"restoring {path}")


def prepare(host: RemoteHost, wanted: MachineSpec) -> None:
    """Makes a host ready for kubeadm. Raises `Problem`."""
    bundle = OfflineBundle.open(wanted.bundle) if wanted.bundle else None
    try:
        run_file(host, "before.sh", wanted.stack)
    except CommandFailed as e:
        raise Problem(f"{e}\ntake it out of that stack, or choose another host") from None
    facts = gather(host)
    _packages(host, wanted, facts, bundle)
    facts = gather(host)
    _kernel(host)
    host.task.say(f"{host.name}: Kubernetes {wanted.kubernetes_version}")
    _binaries(host, wanted, bundle)
    _containerd(host, wanted, facts)
    if write_file(host, KUBELET, read_file("kubelet.service")):
        host.run("systemctl daemon-reload")
    if bundle:
        _images(host, bundle)
    if wanted.virtual_ip:
        _keepalived(host, wanted)


def restore_host(host: RemoteHost, stack: str) -> None:
    """Makes the host what it was, if it is the stack's. Kubernetes must have left it."""
    if owner(host) != stack:
        return
    if is_member(host):
        raise Problem(f"{host.name} is still a node; it leaves the cluster first")
    run_file(host, "restore.sh", timeout_s=PACKAGES_S)


def owner(host: RemoteHost) -> str:
    """The stack that the host was prepared for; empty when it is nobody's."""
    return host.output("cat /var/lib/headrace/owner 2>/dev/null || :")


def host_state(host: RemoteHost, wanted: MachineSpec) -> str:
    """What is ours on the host: empty when it was made anew, `drifted` when a file is not as we wrote it."""
    if owner(host) != wanted.stack:
        return ""
    expected = {KUBELET: read_file("kubelet.service"), SYSCTL: read_file("sysctl.conf")}
    for path, content in expected.items():
        if _digest(host, path) != hashlib.sha256(content.encode()).hexdigest():
            return "drifted"
    return "as wanted"


def _digest(host: RemoteHost, path: str) -> str:
    return host.output('sha256sum "$1" 2>/dev/null | cut -d" " -f1', path)


def _packages(host: RemoteHost, wanted: MachineSpec, facts: HostFacts, bundle: OfflineBundle | None) -> None:
    lacking = missing_packages(facts, keepalived=bool(wanted.virtual_ip))
    if not lacking:
        return
    host.task.say(f"{host.name}: installing {', '.join(lacking)}")
    if bundle is None:
        run_file(host, "packages.sh", *lacking, timeout_s=PACKAGES_S)
        return
    if absent := [name for name in lacking if name not in bundle.packages]:
        raise Problem(f"{host.name} lacks {', '.join(absent)}, and the bundle has no such packages")
    host.run("umask 077; rm -rf /run/headrace/packages; mkdir -p /run/headrace/packages")
    for file in bundle.packages.values():
        host.run('cat >"/run/headrace/packages/$1"', Path(file).name, input=bundle.file(file), timeout_s=UPLOAD_S)
    # Their dependencies are in the bundle too.
    run_file(host, "packages.sh", timeout_s=PACKAGES_S)


def _kernel(host: RemoteHost) -> None:
    write_file(host, MODULES, "overlay\nbr_netfilter\n")
    write_file(host, SYSCTL, read_file("sysctl.conf"))
    script = """
for module in overlay br_netfilter; do modprobe "$module" 2>/dev/null || :; done
sysctl --quiet --load="$1"
"""
    host.run(script, SYSCTL, what="setting the kernel's parameters")


def _binaries(host: RemoteHost, wanted: MachineSpec, bundle: OfflineBundle | None) -> None:
    folder = f"{PROGRAMS}/v{wanted.kubernetes_version}"
    host.run(f'{read_file("library.sh")}\nfolder "$1"; chmod 755 {PROGRAMS} "$1"', folder)
    placed: dict[str, str] = {}
    for name in BINARIES:
        path = f"{folder}/{name}"
        digest = bundle.sha256[bundle.binaries[name]] if bundle else wanted.checksums[name]
        if digest in placed:  # one file under several names
            host.run('ln -f "$1" "$2"', placed[digest], path)
        elif _digest(host, path) != digest:
            if bundle:
                host.run(_TAKE, path, digest, input=bundle.file(bundle.binaries[name]), timeout_s=UPLOAD_S, what=name)
            else:
                url = f"{wanted.downloads}/v{wanted.kubernetes_version}/bin/linux/amd64/{name}"
                host.run(_FETCH + _TAKE, path, digest, url, timeout_s=UPLOAD_S, what=f"fetching {url}")
        placed[digest] = path
    # A node's are switched by an upgrade, one node after the other.
    if not (is_member(host) and host.succeeds("test -x /usr/local/bin/kubelet")):
        link_binaries(host, wanted.kubernetes_version)


_TAKE = """
cat >"$1.new"
echo "$2  $1.new" | sha256sum --check --quiet
chmod 755 "$1.new"
mv -f "$1.new" "$1"
"""
_FETCH = 'curl --fail --silent --show-error --location --retry 3 --connect-timeout 20 "$3" |'


def link_binaries(host: RemoteHost, version: str, names: Sequence[str] = BINARIES) -> None:
    """Makes this version the one that the host runs; the kubelet takes it when it is restarted."""
    script = f"""{read_file("library.sh")}
from=$1
shift
folder /usr/local/bin
for name; do
  keep "/usr/local/bin/$name"
  ln -sfn "$from/$name" "/usr/local/bin/$name"
done
"""
    host.run(script, f"{PROGRAMS}/v{version}", *names, what="linking Kubernetes' binaries")


def _containerd(host: RemoteHost, wanted: MachineSpec, facts: HostFacts) -> None:
    # With the operator, its toolkit brings the runtime and says so in a file of its own.
    nvidia = bool(wanted.gpus and wanted.driver == "preinstalled" and facts["nvidia_runtime"])
    images = host.output('kubeadm config images list --kubernetes-version "v$1"', wanted.kubernetes_version)
    content = render(
        "containerd.toml",
        pause=next(name for name in images.split() if "/pause:" in name),
        restrict_oom_score_adj="false" if facts["lowers_oom_score"] else "true",
        runtime="nvidia" if nvidia else "runc",
        nvidia=read_file("nvidia.toml") if nvidia else "",
        plugins=facts["plugins"],
    )
    changed = write_file(host, CONTAINERD, content)
    host.run("systemctl enable --quiet containerd")
    if changed or not host.succeeds("systemctl --quiet is-active containerd"):
        host.run("systemctl restart containerd")


def _images(host: RemoteHost, bundle: OfflineBundle) -> None:
    said = host.output("ctr --namespace k8s.io images list").splitlines()[1:]
    present = {fields[0]: fields[2] for line in said if len(fields := line.split()) > 2}
    by_digest = {_digest_reference(name, digest): digest for name, digest in bundle.digests.items()}
    if {**bundle.digests, **by_digest}.items() <= present.items():
        return
    host.task.say(f"{host.name}: {len(bundle.digests)} images")
    script = "ctr --namespace k8s.io images import - >/dev/null"
    host.run(script, input=bundle.file(bundle.images), timeout_s=UPLOAD_S, what="importing the bundle's images")
    # The kubelet looks an image up by the name that the pod has, and the stack's own have digests.
    pairs = [word for name, digest in bundle.digests.items() for word in (name, _digest_reference(name, digest))]
    host.run(_TAG, *pairs, what="naming the bundle's images")


def _digest_reference(name: str, digest: str) -> str:
    path, slash, last = name.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}@{digest}"


_TAG = """
while [ $# -gt 0 ]; do
  ctr --namespace k8s.io images tag --force "$1" "$2" >/dev/null
  shift 2
done
"""


def _keepalived(host: RemoteHost, wanted: MachineSpec) -> None:
    interface = wanted.interface or host.output(
        "ip -oneline -4 address show to \"$1\" | awk 'NR == 1 {print $2}'", wanted.address
    )
    if not interface:
        raise Problem(f"{host.name}: no interface has {wanted.address}; name it: headrace:onprem.interface")
    if write_file(host, KEEPALIVED, keepalived_config(wanted, interface)):
        host.run("systemctl enable --quiet keepalived; systemctl restart keepalived")
    else:
        host.run("systemctl enable --quiet --now keepalived")


def keepalived_config(wanted: MachineSpec, interface: str) -> str:
    """keepalived.conf: a control plane whose API server answers goes before one whose does not."""
    others: Iterator[str] = (peer for peer in wanted.peers if peer != wanted.address)
    return render(
        "keepalived.conf",
        interface=interface,
        # Hosts of several clusters may share a network: the number is the cluster's own, of its address.
        router=str(int(IPv4Address(wanted.virtual_ip)) % 255 + 1),
        priority=str(100 + len(wanted.peers) - list(wanted.peers).index(wanted.address)),
        address=wanted.address,
        peers="\n".join(f"    {peer}" for peer in others),
        virtual_ip=wanted.virtual_ip,
    )
