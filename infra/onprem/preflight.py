"""Checks whether hosts can form a cluster, and reports all problems before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from infra.mistakes import Mistake
from infra.onprem.bundle import OfflineBundle
from infra.onprem.facts import HostFacts, gather
from infra.onprem.ssh import RemoteHost, SshAddress
from infra.onprem_config import Host, OnPrem
from infra.resources.problem import Problem
from infra.resources.resource import Task

CONTROL_PLANE_PORTS = (6443, 2379, 2380, 2381, 10250, 10256, 10257, 10259, 179, 20244)
WORKER_PORTS = (10250, 10256, 179, 20244)
"""Ports of https://kubernetes.io/docs/reference/networking/ports-and-protocols/, and kube-router's BGP and health."""

MAX_CLOCK_SKEW_S = 5.0
"""Certificates are valid from the second of their creation, and etcd warns above one second of skew."""
MIN_MEMORY_MIB = {"control_plane": 1700, "worker": 900}
"""Memory that kubeadm requires of control planes, and that a worker needs for its system pods."""
MIN_DISK_MIB = 10_000
"""Free disk that a host needs to join, for images and logs. The kubelet watches the disk of a node that runs."""
KERNEL_AT_LEAST = (4, 19)
CONTAINERD_AT_LEAST = (1, 6)

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "mount": "mount",
    "modprobe": "kmod",
    "sysctl": "procps",
    "flock": "util-linux",
    "curl": "curl",
    "keepalived": "keepalived",
    "plugins": "containernetworking-plugins",
}
"""Debian packages by program; `plugins` are those of the container network interface (CNI)."""


def ssh_address(host: Host, settings: OnPrem) -> SshAddress:
    """Returns the SSH address of a host."""
    return SshAddress(
        host.name, str(host.address), host.port, host.user, host.key_file, host.host_key, settings.known_hosts
    )


def mistakes(settings: OnPrem, stack: str) -> list[Mistake]:
    """Checks the bundle and, in parallel, all hosts; returns their problems."""
    bundle: OfflineBundle | None = None
    found: list[Mistake] = []
    if settings.bundle:
        try:
            bundle = OfflineBundle.open(settings.bundle)
            found += [
                Mistake("onprem.bundle", problem, "create it again: `.venv/bin/python -m tools.bundle`")
                for problem in bundle.mistakes(settings.kubernetes_version)
            ]
        except Problem as e:
            found.append(Mistake("onprem.bundle", str(e), "create it: `.venv/bin/python -m tools.bundle`"))
    with ThreadPoolExecutor(min(len(settings.hosts), 32) or 1) as pool:
        answers = pool.map(lambda host: _gather_facts(host, settings), settings.hosts)
    for i, (host, answer) in enumerate(zip(settings.hosts, answers, strict=True)):
        key = f"onprem.hosts[{i}]"
        if isinstance(answer, Problem):
            problem, _, fix = str(answer).partition("; ")
            found.append(Mistake(key, problem, fix or "inspect the host"))
        else:
            found += [
                Mistake(key, f"{host.name}: {problem}", fix)
                for problem, fix in host_problems(host, settings, answer, stack, bundle.packages if bundle else ())
            ]
    return found


def _gather_facts(host: Host, settings: OnPrem) -> HostFacts | Problem:
    ports = CONTROL_PLANE_PORTS if host.role == "control_plane" else WORKER_PORTS
    remote = RemoteHost(ssh_address(host, settings), Task(lambda words: None))
    try:
        with remote:
            return gather(remote, ports)
    except Problem as e:
        return e


def missing_packages(facts: HostFacts, *, keepalived: bool) -> list[str]:
    """Returns the Debian packages that a host lacks."""
    lacking = [*facts.lists.get("no_program", ())]
    lacking += [] if facts["plugins"] else ["plugins"]
    lacking += ["keepalived"] if keepalived and not facts["keepalived"] else []
    return sorted({PACKAGES[name] for name in lacking})


def host_problems(
    host: Host, settings: OnPrem, facts: HostFacts, stack: str, packages: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Yields the problems of one host with their fixes; `packages` are those in the bundle."""
    yield from _system(facts)
    yield from _capacity(host, facts)
    yield from _software(host, settings, facts, packages)
    yield from _gpus(host, settings, facts)
    member = facts["owner"] == stack and bool(facts["kubernetes"])
    if facts["owner"] and facts["owner"] != stack:
        yield f"belongs to stack '{facts['owner']}'", "remove it from that stack, or choose another host"
    elif facts["kubernetes"] and not member:
        yield (
            f"is already a node of a cluster ({facts['kubernetes']} exists)",
            "remove it from that cluster (`kubeadm reset`), or choose another host",
        )
    elif not member:
        if facts.number("disk_mib") < MIN_DISK_MIB:
            yield f"has {facts['disk_mib']} MiB free below /var/lib", f"free at least {MIN_DISK_MIB}"
        if used := sorted(map(int, facts.lists.get("taken", ()))):
            yield f"ports are in use: {', '.join(map(str, used))}", "`ss -ltnp` shows by which process; end it"
        if facts["swap"]:
            yield f"swaps to {facts['swap']}", "run `swapoff -a`, and remove it from /etc/fstab"


def _system(facts: HostFacts) -> Iterator[tuple[str, str]]:
    if facts["architecture"] != "x86_64":
        yield f"has the architecture {facts['architecture']}", "use a host with x86-64"
    if _parse_version(facts["kernel"]) < KERNEL_AT_LEAST:
        yield f"has kernel {facts['kernel']}", f"use {'.'.join(map(str, KERNEL_AT_LEAST))} or later"
    if facts["init"] != "systemd":
        yield f"has the init system {facts['init'] or '(none)'}", "use a host with systemd"
    if lacking := facts.lists.get("no_controller"):
        yield (
            f"has no control groups for {', '.join(lacking)}",
            "enable them on the kernel command line (cgroup_enable)",
        )
    if lacking := facts.lists.get("no_module"):
        yield f"has no kernel module {', '.join(lacking)}", "install the kernel's modules"
    if abs(facts.skew_s) > MAX_CLOCK_SKEW_S:
        way = "ahead of" if facts.skew_s > 0 else "behind"
        yield f"its clock is {abs(facts.skew_s):.0f} s {way} this machine's", "synchronize both, for example by chrony"
    if facts["resolves"] == "no":
        yield f"its own name {facts['hostname']} does not resolve", "add it to /etc/hosts"
    servers = facts["nameservers"].split()
    if not any(not server.startswith(("127.", "::1")) for server in servers):
        yield "has only a local name server", "add another to /etc/resolv.conf: pods cannot use the local one"


def _capacity(host: Host, facts: HostFacts) -> Iterator[tuple[str, str]]:
    least = MIN_MEMORY_MIB[host.role]
    if facts.number("memory_mib") < least:
        yield f"has {facts['memory_mib']} MiB of memory", f"use a host with at least {least}"
    if host.role == "control_plane" and facts.number("cpus") < 2:
        yield "has 1 CPU", "use a control plane with at least two"


def _software(host: Host, settings: OnPrem, facts: HostFacts, packages: Collection[str]) -> Iterator[tuple[str, str]]:
    keepalived = host.role == "control_plane" and settings.virtual_ip is not None
    lacking = missing_packages(facts, keepalived=keepalived)
    if settings.bundle:
        if lacking := [name for name in lacking if name not in packages]:
            fix = f"run `apt-get install {' '.join(lacking)}`, or add their .deb files to the bundle"
            yield f"lacks the packages {', '.join(lacking)}, which the bundle does not have", fix
        elif missing_packages(facts, keepalived=keepalived) and not facts["dpkg"]:
            yield "has no dpkg to install the bundle's packages", "install the missing packages yourself"
    elif lacking and not facts["apt"]:
        yield f"lacks {', '.join(lacking)}", "install them: the stack does so itself only on Debian and Ubuntu"
    if facts["containerd"] and _parse_version(facts["containerd"]) < CONTAINERD_AT_LEAST:
        yield (
            f"has containerd {facts['containerd']}",
            f"update it to {'.'.join(map(str, CONTAINERD_AT_LEAST))} or later",
        )


def _gpus(host: Host, settings: OnPrem, facts: HostFacts) -> Iterator[tuple[str, str]]:
    if not host.gpus or settings.driver != "preinstalled":
        return
    if facts.number("gpus") < host.gpus:
        seen = f"shows {facts['gpus'] or 'no'} GPUs" if facts["gpus"] else "is not installed"
        fix = "install NVIDIA's driver, correct gpus, or set onprem.driver: operator"
        yield f"should have {host.gpus} GPUs, but nvidia-smi {seen}", fix
    if not facts["nvidia_runtime"]:
        yield "has no nvidia-container-runtime", "install nvidia-container-toolkit, or set onprem.driver: operator"


def _parse_version(text: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
