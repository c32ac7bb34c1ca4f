"""Facts of a host become problems in words, each with what puts it right."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.onprem.facts import HostFacts, parse
from infra.onprem.preflight import host_problems, missing_packages
from infra.onprem.template import read_file
from infra.onprem_config import Host, OnPrem

GOOD = """
os=debian 12
kernel=6.1.0-28-amd64
architecture=x86_64
hostname=w1
resolves=yes
init=systemd
cgroups=cgroup2fs
swap=
clock=1000.5
memory_mib=8192
cpus=4
disk_mib=50000
plugins=/usr/lib/cni
containerd=1.7.24
apt=yes
dpkg=yes
lowers_oom_score=yes
nameservers=192.168.7.1
"""
PLANE = Host.model_validate({"name": "cp1", "address": "192.168.7.11", "role": "control_plane"})
GPU = Host.model_validate({"name": "g1", "address": "192.168.7.31", "gpus": 2, "accelerator": "l4"})
SETTINGS = OnPrem(hosts=(PLANE,))


def problem_messages(
    more: str = "", host: Host = PLANE, settings: OnPrem = SETTINGS, packages: tuple[str, ...] = ()
) -> list[str]:
    """Problems of a good host of which `more` is said instead."""
    names = {line.partition("=")[0] for line in more.splitlines()}
    kept = "\n".join(line for line in GOOD.splitlines() if line.partition("=")[0] not in names)
    return [
        f"{problem}; {fix}" for problem, fix in host_problems(host, settings, parse(f"{kept}\n{more}"), "s", packages)
    ]


def test_a_good_host_has_no_problems() -> None:
    assert problem_messages() == []


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("architecture=aarch64", "has the architecture aarch64"),
        ("kernel=3.10.0-1160", "has kernel 3.10.0-1160; use 4.19 or later"),
        ("init=sh", "has the init system sh"),
        ("no_controller=memory", "has no control groups for memory"),
        ("no_module=br_netfilter", "has no kernel module br_netfilter"),
        ("resolves=no\nhostname=odd", "its own name odd does not resolve"),
        ("nameservers=127.0.0.53", "has only a local name server"),
        ("nameservers=", "has only a local name server"),
        ("memory_mib=1024", "has 1024 MiB of memory; use a host with at least 1700"),
        ("cpus=1", "has 1 CPU"),
        ("disk_mib=900", "has 900 MiB free"),
        ("containerd=1.4.13", "has containerd 1.4.13; update it to 1.6 or later"),
        ("swap=/dev/sda2", "swaps to /dev/sda2"),
        ("taken=10250\ntaken=6443", "ports are in use: 6443, 10250"),
        ("owner=other", "belongs to stack 'other'"),
        ("kubernetes=/etc/rancher", "already a node of a cluster (/etc/rancher exists)"),
        ("apt=\nno_program=runc", "lacks runc; install"),
    ],
)
def test_problems_are_reported(said: str, problem: str) -> None:
    [words] = problem_messages(said)
    assert problem in words


@pytest.mark.parametrize("said", ["taken=6443", "swap=/dev/sda2", "disk_mib=9999"])
def test_a_node_is_not_checked_for_what_only_joining_needs(said: str) -> None:
    assert problem_messages(f"owner=s\nkubernetes=/etc/kubernetes/kubelet.conf\n{said}") == []
    assert problem_messages(f"owner=s\n{said}") != []


def test_packages_come_from_the_bundle_or_from_apt() -> None:
    assert problem_messages("no_program=runc") == []
    offline = SETTINGS.model_copy(update={"bundle": "bundle"})
    assert "which the bundle does not have" in problem_messages("no_program=runc", settings=offline)[0]
    assert problem_messages("no_program=runc", settings=offline, packages=("runc",)) == []
    assert "no dpkg" in problem_messages("no_program=runc\ndpkg=", settings=offline, packages=("runc",))[0]


def test_missing_programs_are_named_by_package() -> None:
    facts = parse("no_program=ctr\nno_program=containerd\nno_program=ip\n")
    assert missing_packages(facts, keepalived=True) == [
        "containerd",
        "containernetworking-plugins",
        "iproute2",
        "keepalived",
    ]
    assert missing_packages(parse("plugins=/opt/cni/bin\nkeepalived=yes"), keepalived=True) == []


def test_gpus_need_their_driver_unless_the_operator_brings_it() -> None:
    words = " ".join(problem_messages(host=GPU))
    assert "should have 2 GPUs, but nvidia-smi is not installed" in words
    assert "no nvidia-container-runtime" in words
    assert "shows 1 GPUs" in problem_messages("gpus=1\nnvidia_runtime=yes", host=GPU)[0]
    assert problem_messages("gpus=2\nnvidia_runtime=yes", host=GPU) == []
    assert problem_messages(host=GPU, settings=SETTINGS.model_copy(update={"driver": "operator"})) == []


@pytest.mark.parametrize(
    ("clock", "skew"), [(1000.5, 0), (1012, 10), (990, -9), (1002, 0)], ids=("inside", "ahead", "behind", "edge")
)
def test_network_delay_is_not_clock_skew(clock: float, skew: float) -> None:
    facts = parse(f"clock={clock}", before=999, after=1002)
    assert facts.skew_s == pytest.approx(skew)


def test_clock_skew_is_reported() -> None:
    ahead = HostFacts(parse(GOOD).values, {}, skew_s=61)
    behind = HostFacts(parse(GOOD).values, {}, skew_s=-61)
    [(problem, _)] = host_problems(PLANE, SETTINGS, ahead, "s")
    assert problem == "its clock is 61 s ahead of this machine's"
    [(problem, _)] = host_problems(PLANE, SETTINGS, behind, "s")
    assert "61 s behind" in problem


def test_facts_of_this_host_are_read_and_nothing_is_changed(tmp_path: Path) -> None:
    said = subprocess.run(
        ["sh", "-ec", read_file("facts.sh"), "sh", "1"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    facts = parse(said.stdout)
    assert facts["kernel"] == os.uname().release
    assert facts.number("memory_mib") > 0
    assert facts.number("disk_mib") > 0
    assert list(tmp_path.iterdir()) == []
