"""Prepares a host for kubeadm, and restores it afterwards.

A file is written only if its content differs, and the original is kept on the host.
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
from infra.resources.problem import Problem
from infra.resources.resource import Values

PROGRAMS = "/opt/headrace"
"""Folder with one subfolder of Kubernetes' binaries for each version, between which an upgrade switches."""
UPLOAD_S = 1800
PACKAGES_S = 900

CONTAINERD = "/etc/containerd/config.toml"
SYSCTL = "/etc/sysctl.d/90-headrace-kubernetes.conf"
MODULES = "/etc/modules-load.d/headrace-kubernetes.conf"
KUBELET = "/etc/systemd/system/kubelet.service"
KEEPALIVED = "/etc/keepalived/keepalived.conf"


@dataclass(frozen=True)
class MachineSpec:
    """The wanted state of a host, from the inputs of `infra.providers.machine`."""

    stack: str
    address: str
    kubernetes_version: str
    bundle: str
    downloads: str
    checksums: Mapping[str, str]
    gpus: int
    driver: str
    virtual_ip: str
    """Empty if the host does not share a virtual IP."""
    interface: str
    peers: Sequence[str]
    """Addresses of all hosts that share the virtual IP, in order of preference."""

    @classmethod
    def from_values(cls, values: Values) -> MachineSpec:
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


def run_file(host: RemoteHost, file: str, *arguments: str, **options: object) -> str:
    """Runs a script of `infra/onprem/files` with the functions of library.sh; returns its output."""
    script = f"{read_file('library.sh')}\n{read_file(file)}"
    return host.output(script, *arguments, what=file, **options)


def write_file(host: RemoteHost, path: str, content: str, mode: int = 0o644) -> bool:
    """Writes a file; returns whether its content changed."""
    script = f'{read_file("library.sh")}\nwrite "$1" "$2"'
    return host.output(script, path, f"{mode:o}", input=content, what=f"writing {path}") == "changed"


def restore_file(host: RemoteHost, path: str) -> None:
    """Restores the original file at `path`."""
    host.run(f'{read_file("library.sh")}\nrestore "$1"', path, what=f"restoring {path}")


def prepare(host: RemoteHost, wanted: MachineSpec) -> None:
    """Prepares a host for kubeadm. Raises `Problem`."""
    bundle = OfflineBundle.open(wanted.bundle) if wanted.bundle else None
    try:
        run_file(host, "before.sh", wanted.stack)
    except CommandFailed as e:
        raise Problem(f"{e}\nremove it from that stack, or choose another host") from None
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
    """Restores the host if it belongs to the stack. It must have left the cluster before."""
    if owner(host) != stack:
        return
    if is_member(host):
        raise Problem(f"{host.name} is still a node; remove it from the cluster first")
    run_file(host, "restore.sh", timeout_s=PACKAGES_S)


def owner(host: RemoteHost) -> str:
    """Returns the stack that the host was prepared for; empty if there is none."""
    return host.output("cat /var/lib/headrace/owner 2>/dev/null || :")


def host_state(host: RemoteHost, wanted: MachineSpec) -> str:
    """Returns "as wanted", "drifted" if a file was changed, or an empty string if the host is not prepared."""
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
        raise Problem(f"{host.name} lacks the packages {', '.join(absent)}, which the bundle does not have")
    host.run("umask 077; rm -rf /run/headrace/packages; mkdir -p /run/headrace/packages")
    for file in bundle.packages.values():
        host.run('cat >"/run/headrace/packages/$1"', Path(file).name, input=bundle.file(file), timeout_s=UPLOAD_S)
    # The bundle has the dependencies too.
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
        if digest in placed:  # the same file under another name
            host.run('ln -f "$1" "$2"', placed[digest], path)
        elif _digest(host, path) != digest:
            if bundle:
                host.run(_TAKE, path, digest, input=bundle.file(bundle.binaries[name]), timeout_s=UPLOAD_S, what=name)
            else:
                url = f"{wanted.downloads}/v{wanted.kubernetes_version}/bin/linux/amd64/{name}"
                host.run(_FETCH + _TAKE, path, digest, url, timeout_s=UPLOAD_S, what=f"fetching {url}")
        placed[digest] = path
    # On a node, the upgrade switches the version later, one node at a time.
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
    """Switches the host to this version of Kubernetes; the kubelet uses it after a restart."""
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
    # With the GPU operator, its container toolkit configures the runtime in a separate file.
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
    lines = host.output("ctr --namespace k8s.io images list").splitlines()[1:]
    present = {fields[0]: fields[2] for line in lines if len(fields := line.split()) > 2}
    by_digest = {_digest_reference(name, digest): digest for name, digest in bundle.digests.items()}
    if {**bundle.digests, **by_digest}.items() <= present.items():
        return
    host.task.say(f"{host.name}: {len(bundle.digests)} images")
    script = "ctr --namespace k8s.io images import - >/dev/null"
    host.run(script, input=bundle.file(bundle.images), timeout_s=UPLOAD_S, what="importing the bundle's images")
    # The kubelet looks up images by the reference in the pod, which has a digest in the stack's own pods.
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
        raise Problem(f"{host.name}: no interface has {wanted.address}; set headrace:onprem.interface")
    if write_file(host, KEEPALIVED, keepalived_config(wanted, interface)):
        host.run("systemctl enable --quiet keepalived; systemctl restart keepalived")
    else:
        host.run("systemctl enable --quiet --now keepalived")


def keepalived_config(wanted: MachineSpec, interface: str) -> str:
    """Returns keepalived.conf, which prefers control planes with a working API server."""
    others: Iterator[str] = (peer for peer in wanted.peers if peer != wanted.address)
    return render(
        "keepalived.conf",
        interface=interface,
        # Several clusters may share a network, so the router id is derived from the cluster's virtual IP.
        router=str(int(IPv4Address(wanted.virtual_ip)) % 255 + 1),
        priority=str(100 + len(wanted.peers) - list(wanted.peers).index(wanted.address)),
        address=wanted.address,
        peers="\n".join(f"    {peer}" for peer in others),
        virtual_ip=wanted.virtual_ip,
    )
