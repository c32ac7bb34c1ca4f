"""Starts an app's process: `python -m serving.engines.apps.wall PYTHON FOLDER SCRATCH PACKAGES ARGUMENT…`.

The app is code of the operator's, with the network and the packages that it asks for. What it must not have are the
platform's secrets and the tenants' data, which lie in files of the same user: Landlock leaves it its own files alone,
it has no capabilities even as root, and the environment is made anew.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from serving.core.confine import LIBRARIES, drop_capabilities, keep_to_files

CHILD = Path(__file__).parent / "child"
"""What a process of an app runs, beside its own packages."""

KEY = "HEADRACE_APP_KEY"
"""Variable with what the process wants to be asked with."""

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
"""What programs read of a host; the stack's configuration, its secrets and its data are not among it."""


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
        # Nothing leaves the cluster unless the app asks for it.
        "LANGSMITH_TRACING": "false",
        "DO_NOT_TRACK": "1",
    }


def main(argv: list[str]) -> None:
    """Gives up what the app must not have, and becomes its process."""
    python, folder, scratch, packages, *arguments = argv
    # A virtual environment's Python is a link, whose library lies where the first one was installed.
    prefixes = (sys.prefix, sys.base_prefix, packages, folder, str(CHILD))
    readable = (*LIBRARIES, *_SYSTEM, *map(Path, prefixes), Path(python).resolve().parents[1])
    drop_capabilities()
    if not keep_to_files(readable, (Path(scratch), Path("/dev/null"))):
        print("this kernel has no Landlock: the app can read files of its user", file=sys.stderr)
    os.chdir(folder)
    os.execve(python, [python, *arguments], environment(folder, scratch))  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
