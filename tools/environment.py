"""Packages beside those that everyone has: groups that one target or command needs, and environments of their own.

`python -m tools.environment GROUP ...` adds groups to the environment that runs it.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from infra.gpu.machines import CLOUDS
from tools import cache
from tools.report import ToolError, say

CHECKOUT = Path(__file__).resolve().parents[1]
REQUIREMENTS = CHECKOUT / "requirements"
ADDED = (*CLOUDS, "redaction")
"""Groups that fit into everyone's environment, and are brought where they are needed."""


def add(group: str) -> None:
    """Installs `requirements/GROUP.txt` into the environment that runs this, unless it is there.

    Raises:
        ToolError: it cannot be installed.
    """
    requirements = REQUIREMENTS / f"{group}.txt"
    stamp = Path(sys.prefix) / f".added-{group}-{_digest(requirements)}"
    if stamp.exists():
        return
    say(f"{group}: installing its packages")
    # Thousands of generated modules, of which few are used: compiling them all takes longer than anything else.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    try:
        subprocess.run([*pip, "--require-hashes", "-r", str(requirements)], check=True)
    except (OSError, subprocess.CalledProcessError) as e:
        raise ToolError(f"the packages of {group} cannot be installed: {e}") from None
    stamp.touch()


def locked(name: str) -> Path:
    """Returns the folder of an environment of `requirements/NAME.txt` alone, made at its first use, in the cache.

    Raises:
        ToolError: it cannot be made.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    folder = cache.root() / f"env-{name}" / _digest(requirements)
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


def _digest(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]


def main() -> int:
    """Adds the groups that are named."""
    parser = argparse.ArgumentParser(prog="python -m tools.environment", description=__doc__)
    parser.add_argument("group", nargs="+", choices=ADDED)
    try:
        for group in parser.parse_args().group:
            add(group)
    except ToolError as e:
        say(f"error: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
