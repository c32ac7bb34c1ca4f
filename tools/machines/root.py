"""The Debian root file system of every machine, created once and kept in the cache."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tools import cache
from tools.report import INTERVAL_S, ToolError, say

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"

# A server that is reached over SSH, with the programs that kubeadm, the kubelet and kube-router call.
PACKAGES = (
    *(
        "systemd",
        "systemd-sysv",
        "dbus",
        "openssh-server",
        "sudo",
        "python3-minimal",
        "ca-certificates",
        "curl",
        "less",
    ),
    *("containerd", "runc", "containernetworking-plugins", "iptables", "nftables", "conntrack", "ipset", "ebtables"),
    *("ethtool", "iproute2", "iputils-ping", "kmod", "procps", "socat"),
)
_LEFT_OUT = ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "etc/ssh/ssh_host_*", "etc/machine-id")


def debian_root(packages: Sequence[str] = PACKAGES) -> Path:
    """Returns a folder with Debian and these packages, which is shared and must not be changed; creates it if missing.

    Creating it takes a minute or two and needs root.

    Raises:
        ToolError: debootstrap failed.
    """
    key = hashlib.sha256(repr((SUITE, tuple(sorted(packages)), _LEFT_OUT)).encode()).hexdigest()[:12]
    folder = cache.root() / f"debian-{SUITE}-{key}"
    if folder.exists():
        return folder
    with cache.lock(f"debian-{key}"):
        if not folder.exists():  # else another process created it while this one waited
            _make(folder, packages)
    return folder


def _make(folder: Path, packages: Sequence[str]) -> None:
    with cache.scratch(folder.name, folder.parent) as work:
        root = work / "root"
        root.mkdir()
        _debootstrap(root, packages, work / "log")
        for pattern in _LEFT_OUT:
            for file in root.glob(pattern):
                cache.remove(file)
        root.chmod(0o755)
        root.rename(folder)


def _debootstrap(work: Path, packages: Sequence[str], log: Path) -> None:
    say(f"debian: making a root of {SUITE} with {len(packages)} packages; this takes a minute or two, once")
    start = time.monotonic()
    with (
        log.open("w") as output,
        subprocess.Popen(
            ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(work), mirror()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            while (code := _wait(process)) is None:
                say(f"debian: {time.monotonic() - start:.0f} s, {_last(log)}")
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise ToolError(f"debootstrap failed: {_last(log)}")
    say(f"debian: made in {time.monotonic() - start:.0f} s")


def mirror() -> str:
    """Returns the mirror that this host's apt uses for the suite, else Debian's own."""
    if shutil.which("apt-get") is None:
        return MIRROR
    answer = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {SUITE}"],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )
    uris = [uri for uri in answer.stdout.split() if uri.startswith(("http://", "https://"))]
    return uris[0] if uris else MIRROR


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(INTERVAL_S)
    except subprocess.TimeoutExpired:
        return None


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1].strip() if lines else "nothing was printed"
