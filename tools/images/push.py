"""Pushes an image's archive to a registry, using Debian's skopeo."""

import shutil
import subprocess
from pathlib import Path

from tools.images import oci
from tools.report import ToolError


def push(archive: Path, name: str) -> str:
    """Pushes the image of an OCI archive as `name`, which ends with a tag; returns its reference by digest.

    The bytes are not changed, so that the digest is the one that the build printed.

    Raises:
        ArchiveError: the file is not an OCI archive.
        ToolError: skopeo is not installed, or cannot push the image.
    """
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        raise ToolError(f"{name} does not end with a tag")
    (entry,) = oci.index_entries(archive)
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        raise ToolError("skopeo is missing; install Debian's package skopeo")
    command = [skopeo, "copy", "--preserve-digests", f"oci-archive:{archive}", f"docker://{name}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        raise ToolError(f"{name} cannot be pushed: {done.stderr.strip()}")
    return f"{repository}@{entry['digest']}"
