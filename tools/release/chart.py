"""Packs the chart and pushes it into a registry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.binaries import find
from tools.report import ToolError

NAME = "headrace"

_SAVED = re.compile(r"saved it to: (.+\.tgz)$", re.MULTILINE)
_DIGEST = re.compile(r"^Digest: (sha256:[0-9a-f]{64})$", re.MULTILINE)


def pack(root: Path, folder: Path) -> Path:
    """Writes the chart's archive into a folder and returns it.

    Raises:
        ToolError: Helm cannot be obtained, or fails.
    """
    output = _helm("package", str(root / "charts" / NAME), "--destination", str(folder))
    if (saved := _SAVED.search(output)) is None:
        raise ToolError(f"the output of helm package names no archive: {output.strip()}")
    return Path(saved[1])


def push(archive: Path, folder: str) -> str:
    """Pushes a chart's archive into a folder of a registry; returns its reference, which ends with its digest.

    Raises:
        ToolError: Helm fails, or does not print the digest.
    """
    output = _helm("push", str(archive), f"oci://{folder}")
    if (digest := _DIGEST.search(output)) is None:
        raise ToolError(f"the output of helm push contains no digest: {output.strip()}")
    return f"{folder}/{NAME}@{digest[1]}"


def _helm(*arguments: str) -> str:
    """Returns Helm's output on both streams; versions differ in where they print the digest."""
    command = [str(find.ensure(["helm"])["helm"]), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ToolError(f"helm {arguments[0]} failed: {done.stdout.strip()}")
    return done.stdout
