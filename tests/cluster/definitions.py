"""Kinds of objects that an operator would bring, without the operator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster.kubectl import kubectl


@contextmanager
def definitions(module: str, *files: str) -> Iterator[None]:
    """The CRDs in files of a Go module (`path@version`); they go at the end, with what is of their kinds."""
    done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=True)
    folder = Path(json.loads(done.stdout)["Dir"])
    given = [f"-f={folder / file}" for file in files]
    kubectl("apply", "--server-side", *given)
    try:
        kubectl("wait", "--for=condition=Established", "--timeout=60s", *given)
        yield
    finally:
        kubectl("delete", "--wait", *given)
