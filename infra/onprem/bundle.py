"""An offline bundle: a folder with everything that hosts would otherwise download. `python -m tools.bundle` creates it.

Its bundle.json has `kubernetes` (version), `binaries` (name -> file), `images` (an OCI archive), `digests` (image
name -> digest), `packages` (Debian package -> file) and `sha256` (file -> checksum).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.layout import CHECKOUT
from infra.onprem_config import BINARIES
from infra.resources.problem import Problem

MANIFEST = "bundle.json"


@dataclass(frozen=True)
class OfflineBundle:
    """The content of a bundle; its files are read when a host needs them."""

    folder: Path
    kubernetes: str
    binaries: Mapping[str, str]
    images: str
    digests: Mapping[str, str]
    packages: Mapping[str, str]
    sha256: Mapping[str, str]

    @classmethod
    def open(cls, path: str) -> OfflineBundle:
        """Opens the bundle in a folder; raises `Problem` if there is none."""
        folder = CHECKOUT / Path(path).expanduser()
        try:
            manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
            return cls(
                folder,
                manifest["kubernetes"],
                manifest["binaries"],
                manifest["images"],
                manifest["digests"],
                manifest["packages"],
                manifest["sha256"],
            )
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise Problem(f"{folder} is not a bundle: cannot read {MANIFEST} ({type(e).__name__}: {e})") from None

    @property
    def digest(self) -> str:
        """Digest of the whole content."""
        return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()[:16]

    def tag(self, repository: str) -> str:
        """Returns the tag of the image with this repository; empty if there is none."""
        found = [name for name in self.digests if name.rpartition(":")[0] == repository]
        return found[0].rpartition(":")[2] if found else ""

    def file(self, name: str) -> Path:
        return self.folder / name

    def mistakes(self, version: str) -> list[str]:
        """Returns the problems of the bundle for a cluster of this version; reads all files."""
        found = []
        if self.kubernetes != version:
            found.append(f"{self.folder} has Kubernetes {self.kubernetes}, but the cluster needs {version}")
        found += [f"{self.folder} has no {name}" for name in BINARIES if name not in self.binaries]
        for name in sorted({*self.binaries.values(), self.images, *self.packages.values()}):
            if not self.file(name).is_file():
                found.append(f"{self.file(name)} is missing")
            elif sha256(self.file(name)) != self.sha256.get(name):
                found.append(f"{self.file(name)} is damaged: its SHA-256 differs from the manifest")
        return found


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
