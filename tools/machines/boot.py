"""Setup inside a new machine before its systemd starts: `unshare ... python -m tools.machines.boot SPEC READY`.

Every mount is in the machine's own namespace, so that it disappears with the machine.
"""

import ctypes
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.machines import cgroups

_CLONE_NEWCGROUP = 0x02000000

# Units that need hardware, the host's kernel or a terminal.
_MASKED = (
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-control.socket"),
    *("systemd-udevd-kernel.socket", "systemd-modules-load.service", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "dev-hugepages.mount", "getty.target", "console-getty.service"),
    *("systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
)
# name: (major, minor) of the kernel's device
_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "kmsg": (1, 11),
    "tty": (5, 0),
    "fuse": (10, 229),
}
_LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}


def main() -> None:
    """Replaces this process by the machine's systemd.

    SPEC is a file that describes the machine (`Machine` writes it; it contains keys). READY is the descriptor that
    gets this process's id, as seen by the host, once everything is set up.
    """
    spec: Mapping[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    ready = int(sys.argv[2])
    pid = Path("/proc/self").readlink().name  # /proc is still the host's
    cgroups.join(spec["cgroup"])
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWCGROUP):
        raise OSError(ctypes.get_errno(), "a control group namespace cannot be made")
    socket.sethostname(spec["name"])
    os.umask(0o022)
    folder = Path(spec["folder"])
    os.chdir(folder)  # overlay's options cannot be quoted, so its folders are relative paths
    root = folder / "root"
    _mount("overlay", root, kind="overlay", options=f"lowerdir={spec['base']},upperdir=upper,workdir=work")
    _write_files(root, spec["files"])
    _kernel_file_systems(root)
    _devices(root / "dev")
    for bind in spec["mounts"]:
        _bind(Path(bind["source"]), root / bind["target"].lstrip("/"), bind["read_only"])
    _mount("tmpfs", root / "run", kind="tmpfs", options="mode=755,nosuid")
    (root / ".old").mkdir(exist_ok=True)
    os.chdir(root)
    _run("pivot_root", ".", ".old")
    _run("umount", "--lazy", "/.old")
    _run("mount", "--make-rshared", "/")  # the kubelet's mounts must appear in containers
    _run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    os.write(ready, f"{pid}\n".encode())
    os.close(ready)
    environment = {"container": "headrace", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "dumb"}
    init = "/lib/systemd/systemd"
    os.execve(init, [init, "--log-target=console", "--show-status=true"], environment)  # noqa: S606


def _write_files(root: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, file in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(mode=0o700 if path.parent.name == ".ssh" else 0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=file["mode"])
        path.write_text(file["content"])
    for unit in _MASKED:
        mask = root / "etc/systemd/system" / unit
        mask.unlink(missing_ok=True)
        mask.symlink_to("/dev/null")


def _kernel_file_systems(root: Path) -> None:
    hierarchies = cgroups.hierarchies()
    _mount("proc", root / "proc", kind="proc")
    _mount("sysfs", root / "sys", kind="sysfs")
    if any(hierarchy.folder != cgroups.ROOT for hierarchy in hierarchies):
        _mount("tmpfs", root / "sys/fs/cgroup", kind="tmpfs", options="mode=755")
    for hierarchy in hierarchies:
        folder = root / hierarchy.folder.relative_to("/")
        folder.mkdir(exist_ok=True)
        kind = "cgroup2" if hierarchy.is_v2 else "cgroup"
        _mount(kind, folder, kind=kind, options=hierarchy.options)


def _devices(dev: Path) -> None:
    _mount("tmpfs", dev, kind="tmpfs", options="mode=755,nosuid")
    for name in ("pts", "shm", "mqueue"):
        (dev / name).mkdir()
    _mount("devpts", dev / "pts", kind="devpts", options="newinstance,ptmxmode=0666,mode=620,gid=5")
    _mount("tmpfs", dev / "shm", kind="tmpfs", options="mode=1777,nosuid")
    _mount("mqueue", dev / "mqueue", kind="mqueue")
    for name, numbers in _DEVICES.items():
        os.mknod(dev / name, 0o666 | stat.S_IFCHR, os.makedev(*numbers))
        (dev / name).chmod(0o666)
    for name, target in _LINKS.items():
        (dev / name).symlink_to(target)
    (dev / "console").touch()
    _run("mount", "--bind", str(dev / "null"), str(dev / "console"))


def _bind(source: Path, target: Path, read_only: bool) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _run("mount", "--bind", str(source), str(target))
    if read_only:
        _run("mount", "-o", "remount,bind,ro", str(target))


def _mount(source: str, target: Path, *, kind: str, options: str = "") -> None:
    _run("mount", "-t", kind, *(["-o", options] if options else []), source, str(target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
