"""Whether hosts can become a cluster: all problems of all hosts, before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from infra.mistakes import Mistake
from infra.onprem.bundle import OfflineBundle
from infra.onprem.facts import HostFacts, gather
from infra.onprem.ssh import RemoteHost, SshAddress
from infra.onprem_config import Host, OnPrem
from infra.providers.problem import Problem
from infra.providers.resource import Task

CONTROL_PLANE_PORTS = (6443, 2379, 2380, 2381, 10250, 10256, 10257, 10259, 179, 20244)
WORKER_PORTS = (10250, 10256, 179, 20244)
"""https://kubernetes.io/docs/reference/networking/ports-and-protocols/, and kube-router's BGP and health."""

MAX_CLOCK_SKEW_S = 5.0
"""Certificates are valid from the second they are made in, and etcd warns above one second."""
MIN_MEMORY_MIB = {"control_plane": 1700, "worker": 900}
"""What kubeadm's own check asks of control planes, and a node beside its system pods."""
MIN_DISK_MIB = 10_000
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
"""Program -> Debian's package that has it. `plugins` are those of the container network interface."""


def ssh_address(host: Host, settings: OnPrem) -> SshAddress:
    """Where a host of the settings answers."""
    return SshAddress(
        host.name, str(host.address), host.port, host.user, host.key_file, host.host_key, settings.known_hosts
    )


def mistakes(settings: OnPrem, stack: str) -> list[Mistake]:
    """Asks all hosts at once; what is wrong, by host."""
    bundle: OfflineBundle | None = None
    found: list[Mistake] = []
    if settings.bundle:
        try:
            bundle = OfflineBundle.open(settings.bundle)
            found += [
                Mistake("onprem.bundle", words, "make it anew: `python -m tools.bundle`")
                for words in bundle.mistakes(settings.kubernetes_version)
            ]
        except Problem as e:
            found.append(Mistake("onprem.bundle", str(e), "make it: `python -m tools.bundle`"))
    with ThreadPoolExecutor(min(len(settings.hosts), 32) or 1) as pool:
        answers = pool.map(lambda host: _gather_facts(host, settings), settings.hosts)
    for i, (host, answer) in enumerate(zip(settings.hosts, answers, strict=True)):
        key = f"onprem.hosts[{i}]"
        if isinstance(answer, Problem):
            problem, _, fix = str(answer).partition("; ")
            found.append(Mistake(key, problem, fix or "look at the host"))
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
    """Debian's packages that a host lacks."""
    lacking = [*facts.lists.get("no_program", ())]
    lacking += [] if facts["plugins"] else ["plugins"]
    lacking += ["keepalived"] if keepalived and not facts["keepalived"] else []
    return sorted({PACKAGES[name] for name in lacking})


def host_problems(
    host: Host, settings: OnPrem, facts: HostFacts, stack: str, packages: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """What is wrong with one host, each with what puts it right; `packages` are those that the bundle brings."""
    yield from _system(facts)
    yield from _capacity(host, facts)
    yield from _software(host, settings, facts, packages)
    yield from _gpus(host, settings, facts)
    member = facts["owner"] == stack and bool(facts["kubernetes"])
    if facts["owner"] and facts["owner"] != stack:
        yield f"belongs to stack '{facts['owner']}'", "take it out of that stack, or choose another host"
    elif facts["kubernetes"] and not member:
        yield (
            f"is already a node of some cluster ({facts['kubernetes']} is there)",
            "take it out of that one (`kubeadm reset`), or choose another host",
        )
    elif not member:
        if taken := sorted(map(int, facts.lists.get("taken", ()))):
            yield f"ports are taken: {', '.join(map(str, taken))}", "`ss -ltnp` says by whom; end it"
        if facts["swap"]:
            yield f"swaps to {facts['swap']}", "`swapoff -a`, and remove it from /etc/fstab"


def _system(facts: HostFacts) -> Iterator[tuple[str, str]]:
    if facts["architecture"] != "x86_64":
        yield f"has processors of kind {facts['architecture']}", "use a host with x86-64"
    if _parse_version(facts["kernel"]) < KERNEL_AT_LEAST:
        yield f"has kernel {facts['kernel']}", f"use {'.'.join(map(str, KERNEL_AT_LEAST))} or later"
    if facts["init"] != "systemd":
        yield f"is run by {facts['init'] or 'no init'}", "use a host with systemd"
    if lacking := facts.lists.get("no_controller"):
        yield f"has no control groups for {', '.join(lacking)}", "enable them (kernel command line cgroup_enable=...)"
    if lacking := facts.lists.get("no_module"):
        yield f"has no kernel module {', '.join(lacking)}", "install the kernel's modules"
    if abs(facts.skew_s) > MAX_CLOCK_SKEW_S:
        way = "ahead of" if facts.skew_s > 0 else "behind"
        yield f"its clock is {abs(facts.skew_s):.0f} s {way} this machine's", "synchronize both, for example by chrony"
    if facts["resolves"] == "no":
        yield f"its own name {facts['hostname']} is not resolved", "add it to /etc/hosts"
    servers = facts["nameservers"].split()
    if not any(not server.startswith(("127.", "::1")) for server in servers):
        yield "has no name server but itself", "name one in /etc/resolv.conf: pods cannot ask the host's own"


def _capacity(host: Host, facts: HostFacts) -> Iterator[tuple[str, str]]:
    least = MIN_MEMORY_MIB[host.role]
    if facts.number("memory_mib") < least:
        yield f"has {facts['memory_mib']} MiB of memory", f"give it {least} or more"
    if host.role == "control_plane" and facts.number("cpus") < 2:
        yield "has 1 CPU", "give a control plane two or more"
    if facts.number("disk_mib") < MIN_DISK_MIB:
        yield f"has {facts['disk_mib']} MiB free below /var/lib", f"free {MIN_DISK_MIB}"


def _software(host: Host, settings: OnPrem, facts: HostFacts, packages: Collection[str]) -> Iterator[tuple[str, str]]:
    keepalived = host.role == "control_plane" and settings.virtual_ip is not None
    lacking = missing_packages(facts, keepalived=keepalived)
    if settings.bundle:
        if lacking := [name for name in lacking if name not in packages]:
            fix = f"`apt-get install {' '.join(lacking)}`, or put their .deb files into the bundle"
            yield f"lacks {', '.join(lacking)}, and the bundle has no such packages", fix
        elif missing_packages(facts, keepalived=keepalived) and not facts["dpkg"]:
            yield "has no dpkg to install the bundle's packages with", "install what it lacks yourself"
    elif lacking and not facts["apt"]:
        yield f"lacks {', '.join(lacking)}", "install them: only Debian's and Ubuntu's hosts get them by themselves"
    if facts["containerd"] and _parse_version(facts["containerd"]) < CONTAINERD_AT_LEAST:
        yield (
            f"has containerd {facts['containerd']}",
            f"update it to {'.'.join(map(str, CONTAINERD_AT_LEAST))} or later",
        )


def _gpus(host: Host, settings: OnPrem, facts: HostFacts) -> Iterator[tuple[str, str]]:
    if not host.gpus or settings.driver != "preinstalled":
        return
    if facts.number("gpus") < host.gpus:
        seen = f"shows {facts['gpus'] or 'no'} GPUs" if facts["gpus"] else "is not there"
        fix = "install NVIDIA's driver, correct gpus, or set onprem.driver: operator"
        yield f"is to have {host.gpus} GPUs, and nvidia-smi {seen}", fix
    if not facts["nvidia_runtime"]:
        yield "has no nvidia-container-runtime", "install nvidia-container-toolkit, or set onprem.driver: operator"


def _parse_version(text: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
