"""Where a local stack keeps its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Layout:
    """Files and folders of one local stack, below `state`."""

    state: Path

    @classmethod
    def for_stack(cls, stack: str, state: str = "") -> Layout:
        """`state` is the configured folder (below the checkout unless it is absolute), or empty."""
        return cls((CHECKOUT / (state or f".headrace/{stack}")).resolve())

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def data(self) -> Path:
        """What users own: kept by `make down`."""
        return self.state / "data"

    @property
    def metrics(self) -> Path:
        """prometheus-client's multiprocess folder."""
        return self.state / "metrics"

    @property
    def temp(self) -> Path:
        """Ray's folder: socket paths are limited to 107 bytes, so it cannot lie below the checkout."""
        digest = hashlib.sha256(str(self.state).encode()).hexdigest()[:8]
        return Path("/tmp") / f"headrace-{digest}"  # noqa: S108 (made with mode 0700, by us)

    def record(self, name: str) -> Path:
        return self.state / "run" / name

    def log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"
