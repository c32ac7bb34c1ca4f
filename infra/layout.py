"""The paths of a local stack's files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
"""The repository's root, for all code that may import `infra`."""


@dataclass(frozen=True)
class Layout:
    """Files and folders of one local stack, below `state`."""

    state: Path

    @classmethod
    def for_stack(cls, stack: str, state: str = "") -> Layout:
        """Returns the layout of a stack. `state` is the configured folder, relative to the checkout, or empty."""
        return cls((CHECKOUT / (state or f".headrace/{stack}")).resolve())

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def data(self) -> Path:
        """The users' data, which `make down` keeps."""
        return self.state / "data"

    @property
    def metrics(self) -> Path:
        """The multiprocess folder of prometheus-client."""
        return self.state / "metrics"

    @property
    def temp(self) -> Path:
        """Ray's temporary folder. Its path must be short, since socket paths are limited to 107 bytes."""
        digest = hashlib.sha256(str(self.state).encode()).hexdigest()[:8]
        return Path("/tmp") / f"headrace-{digest}"  # noqa: S108 (made with mode 0700, by us)

    def record(self, name: str) -> Path:
        return self.state / "run" / name

    def log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"
