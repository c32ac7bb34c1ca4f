"""Tuning of models on this host."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field

from serving.config.base import Strict

TRAINING = Path(sys.prefix) / "training"
"""The link to the environment that tunes models, which `make tuning` creates."""


class Tuning(Strict):
    """Jobs that make versions of models: whether they run, and what each may use."""

    enabled: bool = Field(default=False, description="whether jobs run; `make tuning` installs what they need")
    memory_bytes: int = Field(default=8_000_000_000, ge=1_000_000_000, description="maximum memory of a job")
    hours: float = Field(default=12, gt=0, le=1000, description="maximum running time of a job")
    threads: int = Field(
        default=1, ge=1, le=256, description="threads of a job, which runs at the lowest priority of this host"
    )
