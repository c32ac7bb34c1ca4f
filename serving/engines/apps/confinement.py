"""Starts an app's process: `python -m serving.engines.apps.confinement PYTHON FOLDER SCRATCH PACKAGES ARGUMENT…`.

The app is the operator's code, with network access and the packages that it needs. It must not get the platform's
secrets and the tenants' data, which are in files of the same user: Landlock restricts it to its own files, it has no
capabilities even as root, and it gets a new environment. Landlock does not cover Unix sockets with a path and metadata
of files: a seccomp filter rejects changes of these.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

from serving.core.confine import LIBRARIES, RefusedCalls, Unconfined, drop_capabilities, keep_to_files, refuse

CHILD = Path(__file__).parent / "child"
"""The program of an app's process, besides its own packages."""

KEY = "HEADRACE_APP_KEY"
"""Variable with the key that requests to the process must have."""

_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", KEY)

_SYSTEM = tuple(
    Path(path)
    for path in (
        *("/usr", "/bin", "/sbin", "/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu"),
        *("/dev/urandom", "/dev/random", "/dev/zero"),
        *("/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf"),
        *("/etc/nsswitch.conf", "/etc/gai.conf", "/etc/passwd", "/etc/group", "/etc/services", "/etc/protocols"),
        *("/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/python3", "/etc/python3.11"),
    )
)
"""Files of the host that programs need; the stack's configuration, secrets and data are not among them."""


_NONE = -1

REFUSED = (
    RefusedCalls(errno.EPERM, ((41, 198),), socket.AF_UNIX),  # socket, not socketpair
    RefusedCalls(errno.EPERM, ((41, 198),), socket.AF_VSOCK),
    RefusedCalls(errno.ENOSYS, ((425, 425),)),  # io_uring_setup: requests through a ring bypass the filter
    # setxattr, lsetxattr, fsetxattr, setxattrat, removexattr, lremovexattr, fremovexattr, removexattrat, file_setattr
    RefusedCalls(
        errno.EOPNOTSUPP,
        ((188, 5), (189, 6), (190, 7), (463, 463), (197, 14), (198, 15), (199, 16), (466, 466), (469, 469)),
    ),
    # These calls have no effect but report success, so that copying files still works.
    RefusedCalls(0, ((90, _NONE), (91, 52), (268, 53), (452, 452), (92, _NONE), (93, 55), (94, _NONE), (260, 54))),
    # utime, utimes, futimesat, utimensat
    RefusedCalls(0, ((132, _NONE), (235, _NONE), (261, _NONE), (280, 88))),
)
"""System calls for objects that Landlock does not cover."""


def environment(folder: str, scratch: str) -> dict[str, str]:
    """Returns the environment of the app's process."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **kept,
        "HOME": scratch,
        "TMPDIR": scratch,
        "PYTHONPATH": f"{CHILD}{os.pathsep}{folder}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # No data leaves the cluster unless the app sends it.
        "LANGSMITH_TRACING": "false",
        "DO_NOT_TRACK": "1",
    }


def main(argv: list[str]) -> None:
    """Restricts this process, and replaces it by the app's."""
    python, folder, scratch, packages, *arguments = argv
    # A virtual environment's Python is a link to an installation elsewhere, which has its library.
    prefixes = (sys.prefix, sys.base_prefix, packages, folder, str(CHILD))
    readable = (*LIBRARIES, *_SYSTEM, *map(Path, prefixes), Path(python).resolve().parents[1])
    drop_capabilities()
    if not keep_to_files(readable, (Path(scratch), Path("/dev/null"))):
        print("this kernel has no Landlock: the app can read files of its user", file=sys.stderr)
    try:
        refuse(REFUSED)
    except Unconfined as e:
        print(f"the app can use Unix sockets and change metadata of files: {e}", file=sys.stderr)
    os.chdir(folder)
    os.execve(python, [python, *arguments], environment(folder, scratch))  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
