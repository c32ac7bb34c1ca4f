"""kubectl for the test cluster."""

import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from infra.programs import CLUSTER_KITS
from tools.binaries import find
from tools.cluster.images import BINARIES
from tools.cluster.layout import KUBECONFIG
from tools.report import ToolError


@cache
def binaries() -> Mapping[str, Path]:
    """Returns the cluster's binaries, obtaining those that are missing."""
    return find.ensure(BINARIES, CLUSTER_KITS)


def kubectl(*arguments: str, input: str | None = None, timeout: float | None = None) -> str:
    """Runs kubectl and returns what it prints.

    Raises:
        ToolError: it failed; the text is its error message.
        subprocess.TimeoutExpired: it took more than `timeout` seconds.
    """
    done = subprocess.run(
        [str(binaries()["kube"]), "kubectl", *arguments],
        env={**os.environ, "KUBECONFIG": str(KUBECONFIG)},
        stdin=subprocess.DEVNULL if input is None else None,
        input=input,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode:
        raise ToolError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
