"""An offline bundle: a folder with all that hosts need and cannot fetch. `python -m tools.bundle` makes it.

bundle.json says what is in it: `kubernetes` (version), `binaries` (name -> file), `images` (an OCI archive), `digests`
(of its images, by name), `packages` (Debian's, name -> file), `sha256` (of each file).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.onprem_config import BINARIES
from infra.providers.problem import Problem
from infra.targets.layout import CHECKOUT

MANIFEST = "bundle.json"


@dataclass(frozen=True)
class OfflineBundle:
    """An opened bundle; its files are read when a host needs them."""

    folder: Path
    kubernetes: str
    binaries: Mapping[str, str]
    images: str
    digests: Mapping[str, str]
    packages: Mapping[str, str]
    sha256: Mapping[str, str]

    @classmethod
    def open(cls, path: str) -> OfflineBundle:
        """Raises `Problem` when there is none."""
        folder = CHECKOUT / Path(path).expanduser()
        try:
            said: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
            return cls(
                folder,
                said["kubernetes"],
                said["binaries"],
                said["images"],
                said["digests"],
                said["packages"],
                said["sha256"],
            )
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise Problem(f"{folder} is no bundle: {MANIFEST} cannot be read ({type(e).__name__}: {e})") from None

    @property
    def digest(self) -> str:
        """Of all that is in it."""
        return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()[:16]

    def tag(self, repository: str) -> str:
        """Of the image of this repository; empty when there is none."""
        found = [name for name in self.digests if name.rpartition(":")[0] == repository]
        return found[0].rpartition(":")[2] if found else ""

    def file(self, name: str) -> Path:
        return self.folder / name

    def mistakes(self, version: str) -> list[str]:
        """What is wrong with it for a cluster of this version; every file is read."""
        found = []
        if self.kubernetes != version:
            found.append(f"{self.folder} holds Kubernetes {self.kubernetes}, and the cluster is to have {version}")
        found += [f"{self.folder} has no {name}" for name in BINARIES if name not in self.binaries]
        for name in sorted({*self.binaries.values(), self.images, *self.packages.values()}):
            if not self.file(name).is_file():
                found.append(f"{self.file(name)} is missing")
            elif sha256(self.file(name)) != self.sha256.get(name):
                found.append(f"{self.file(name)} is damaged: its SHA-256 is not the manifest's")
        return found


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
