"""`make lock`: compiles the hash-locked requirement files from the groups in pyproject.toml.

The files name no index: where packages come from is the machine's business. All groups are resolved together
first, so that one environment can hold them all. Those of the GPU images stand alone, for Linux on x86-64 and Debian
12's Python and C library; what they share with `serving` has its version where it can.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools import package_index
from tools.environment import GROUPS, WITHOUT_DEPENDENCIES

ROOT = Path(__file__).resolve().parents[1]
TOGETHER = ("uv", *(group for group in GROUPS if group not in WITHOUT_DEPENDENCIES))
"""Groups of everyone's environment, and what installs them."""
STANDALONE = ("vllm", "training")
"""Groups of images that are too large for everyone's environment."""
APART = ("checkov", "test-s3", "comply", "bench-litellm", "bench-vllm-router")
"""Groups of programs that run in environments of their own, whatever versions ours has."""

_EVERYWHERE = ("--universal",)
_GPU_IMAGE = ("--python-platform", "x86_64-manylinux_2_36", "--only-binary", ":all:")
_COMPILE = [
    "uv",
    "pip",
    "compile",
    "--quiet",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-annotate",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
]


def compile_to(output: Path, *arguments: str, platform: Sequence[str] = _EVERYWHERE) -> None:
    """Runs uv, in the checkout. Versions that the output already names are kept where they can be."""
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, *_COMPILE[1:], *platform, *arguments, "--output-file", str(output)]
    subprocess.run(command, cwd=ROOT, env=package_index.uv_environment(), check=True)


def lock(folder: Path, upgrade: bool) -> None:
    """Writes every requirement file into `folder`; keeps the versions that stand unless `upgrade`."""
    folder.mkdir(exist_ok=True)
    current = ROOT / "requirements"
    with tempfile.TemporaryDirectory() as scratch:
        together = Path(scratch) / "together.txt"
        standing = Path(scratch) / "standing.txt"
        kept = [current / f"{g}.txt" for g in TOGETHER if not upgrade]
        standing.write_text("\n".join(file.read_text() for file in kept if file.exists()))
        groups = [f"--group=pyproject.toml:{g}" for g in TOGETHER]
        compile_to(together, *groups, "--constraint", str(standing))
        for group in TOGETHER:
            compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}", "--constraint", str(together))
    for group in STANDALONE:
        standing_alone = current / f"{group}.txt"
        fresh = upgrade or not standing_alone.exists()
        _prefer(folder / "serving.txt" if fresh else standing_alone, folder / f"{group}.txt")
        compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}", platform=_GPU_IMAGE)
    for group in APART:
        _prefer(None if upgrade else current / f"{group}.txt", folder / f"{group}.txt")
        compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}")
    for group in WITHOUT_DEPENDENCIES:
        compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}", "--no-deps")


def _prefer(versions: Path | None, output: Path) -> None:
    """Has uv keep the versions of another file where it can: it prefers what its output already names."""
    if versions is None:
        output.unlink(missing_ok=True)
    elif versions.exists() and versions != output:
        shutil.copy(versions, output)


def main(argv: Sequence[str] | None = None) -> int:
    """Locks, or with `--check` says whether the files still fit pyproject.toml."""
    parser = argparse.ArgumentParser(prog="python -m tools.lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the files would change")
    args = parser.parse_args(argv)
    standing = ROOT / "requirements"
    if not args.check:
        lock(standing, args.upgrade)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        lock(Path(scratch), upgrade=False)
        files = [f"{name}.txt" for name in (*TOGETHER, *STANDALONE, *APART, *WITHOUT_DEPENDENCIES)]
        stale = [f for f in files if (Path(scratch) / f).read_bytes() != (standing / f).read_bytes()]
    for name in stale:
        print(f"requirements/{name} does not fit pyproject.toml; run make lock", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
