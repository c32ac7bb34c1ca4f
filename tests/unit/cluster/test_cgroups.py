"""Hierarchies of control groups, as kernels and containers mount them."""

from pathlib import Path

from tools.machines.cgroups import ROOT, Hierarchy, hierarchies

V1 = """\
proc /proc proc rw,relatime 0 0
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,nodev,noexec,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,xattr,release_agent=/lib/systemd/agent,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
cgroup /var/other/memory cgroup rw,relatime,memory 0 0
"""


def test_version_1_is_mounted_again_by_its_controllers_or_its_name() -> None:
    assert hierarchies(V1) == [
        Hierarchy(ROOT / "cpu,cpuacct", "cpu,cpuacct"),
        Hierarchy(ROOT / "memory", "memory"),
        Hierarchy(ROOT / "systemd", "none,name=systemd"),
        Hierarchy(ROOT / "unified", ""),
    ]


def test_version_2_is_one_hierarchy() -> None:
    found = hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0\n")
    assert found == [Hierarchy(Path("/sys/fs/cgroup"), "")]
    assert found[0].is_v2
