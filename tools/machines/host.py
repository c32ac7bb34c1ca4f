"""Requirements of the host, checked before anything is created."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.report import ToolError, say

# program: the Debian package that has it
PROGRAMS = {
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "mount": "mount",
    "nsenter": "util-linux",
    "pivot_root": "util-linux",
    "setsid": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
_CLONE_NEWUTS = 0x04000000


def check() -> None:
    """Raises `ToolError` unless this host can run machines; the text names everything that is missing."""
    if os.geteuid() != 0:
        raise ToolError("nested machines need root: they mount file systems and create network links")
    if lacking := [name for name in NAMESPACES if not Path(f"/proc/self/ns/{name}").exists()]:
        raise ToolError(f"this kernel has no {', '.join(lacking)} namespaces, which nested machines need")
    if "overlay" not in Path("/proc/filesystems").read_text():
        raise ToolError("this kernel has no overlay file system, which nested machines need: try `modprobe overlay`")
    if packages := missing():
        raise ToolError(
            f"programs are missing; install Debian's packages {' '.join(packages)}"
            " (`.venv/bin/python -m tools.cluster prepare`)"
        )
    _try_namespace()


def missing(programs: Mapping[str, str] = PROGRAMS) -> list[str]:
    """Returns the Debian packages whose programs are not on PATH."""
    packages = {package for program, package in programs.items() if shutil.which(program) is None}
    if not KEYRING.exists():
        packages.add("debian-archive-keyring")
    return sorted(packages)


def prepare(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Installs missing packages, on Debian and as root.

    Raises:
        ToolError: they cannot be installed; the text says what to install.
    """
    packages = missing(programs)
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ToolError(f"install these packages (named as in Debian) as root: {' '.join(packages)}")
    say(f"apt-get install {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise ToolError(f"apt-get {command[0]}: {(done.stderr or done.stdout).strip()}")


def _try_namespace() -> None:
    # A container may have root's user id without the capability to create namespaces.
    if (child := os.fork()) == 0:
        failed = ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUTS)
        os._exit(ctypes.get_errno() if failed else 0)
    if errno := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise ToolError(f"this process cannot create namespaces ({os.strerror(errno)}); run it with CAP_SYS_ADMIN")
