"""Environments of their own for programs that could not live in the project's: they want other versions."""

import hashlib
import subprocess
import sys
from pathlib import Path

from tools import cache
from tools.report import ToolError, say

CHECKOUT = Path(__file__).resolve().parents[1]


def locked(name: str) -> Path:
    """Returns the folder of an environment of `requirements/NAME.txt` alone, made at its first use, in the cache.

    Raises:
        ToolError: it cannot be made.
    """
    requirements = CHECKOUT / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    folder = cache.root() / f"env-{name}" / digest
    with cache.lock(f"env-{name}"):
        if not (folder / "whole").is_file():
            say(f"{name}: making its environment")
            uv = str(Path(sys.executable).with_name("uv"))
            python = str(folder / "bin" / "python")
            install = [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes"]
            try:
                subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
                subprocess.run([*install, "-r", str(requirements)], check=True)
            except (OSError, subprocess.CalledProcessError) as e:
                raise ToolError(f"the environment of {name} cannot be made: {e}") from None
            (folder / "whole").touch()
    return folder
