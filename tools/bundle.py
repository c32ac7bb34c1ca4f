"""`python -m tools.bundle`: writes an offline bundle, from which machines without internet become a cluster."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.onprem.bundle import MANIFEST, sha256
from infra.onprem_config import BINARIES
from tools.images.layer import ArchiveError
from tools.images.oci import IMAGE_NAME, index_entries, write_bundle
from tools.report import ToolError, say

IMAGES = "images.tar"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a bundle; returns 0, or 1 with a line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        binaries = {name: options.binaries / name for name in BINARIES}
        make(options.folder, options.version, binaries, options.image, options.deb)
    except (ToolError, ArchiveError, OSError) as error:
        say(f"error: {error}")
        return 1
    say(f"set headrace:onprem.bundle to {options.folder}")
    return 0


def make(
    folder: Path, version: str, binaries: Mapping[str, Path], archives: Sequence[Path], packages: Sequence[Path] = ()
) -> None:
    """Writes a bundle of Kubernetes' binaries by name, the images of OCI archives, and Debian packages.

    Files are hard links where possible. Raises `ToolError` when the folder exists or a file does not.
    """
    if folder.exists():
        raise ToolError(f"{folder} exists; remove it, or name another folder")
    for file in (*binaries.values(), *archives, *packages):
        if not file.is_file():
            raise ToolError(f"{file} does not exist, or is not a file")
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    work.mkdir(parents=True)
    try:
        placed = {name: _place(file, work / "bin") for name, file in binaries.items()}
        debs = {_package_name(file): _place(file, work / "packages") for file in packages}
        write_bundle(work / IMAGES, archives)
        digests = {entry["annotations"][IMAGE_NAME]: entry["digest"] for entry in index_entries(work / IMAGES)}
        files = sorted({IMAGES, *placed.values(), *debs.values()})
        manifest = {
            "kubernetes": version,
            "binaries": placed,
            "images": IMAGES,
            "digests": digests,
            "packages": debs,
            "sha256": {name: sha256(work / name) for name in files},
        }
        (work / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _place(file: Path, folder: Path) -> str:
    """Places a file in the bundle and returns its path there; a file with several names is placed once."""
    file = file.resolve()
    folder.mkdir(exist_ok=True)
    target = folder / file.name
    if not target.exists():
        try:
            os.link(file, target)
        except OSError:  # on another file system
            shutil.copy2(file, target)
    return f"{folder.name}/{file.name}"


def _package_name(file: Path) -> str:
    done = subprocess.run(["dpkg-deb", "--field", str(file), "Package"], capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{file} is not a Debian package: {done.stderr.strip()}")
    return done.stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.bundle", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder to create")
    parser.add_argument("--version", required=True, help="version of Kubernetes, for example 1.37.2")
    parser.add_argument("--binaries", type=Path, required=True, help=f"folder with {', '.join(BINARIES)}")
    parser.add_argument("--image", type=Path, action="append", required=True, help="OCI archive of images; repeatable")
    parser.add_argument("--deb", type=Path, action="append", default=[], help="Debian package; repeatable")
    return parser


if __name__ == "__main__":
    sys.exit(main())
