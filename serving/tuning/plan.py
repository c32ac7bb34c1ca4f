"""The plan of a job: what its child reads. It needs the standard library alone, for both sides import it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

Method = Literal["sft", "dpo", "kto", "reward", "distil", "prune", "quantise"]

TYPES: Final = ("Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0")
"""Names of the mixtures of types that a file can be quantised to: see `quantising`."""

INTERRUPTED: Final = 75
"""Exit status of a child that was asked to end, and wrote a checkpoint; EX_TEMPFAIL of sysexits.h."""

FAILED: Final = 1
"""Exit status of a child whose last line says why it failed."""

WHOLE: Final = "whole.json"
"""File in a checkpoint that is written last: without it, the job was killed while it wrote the checkpoint."""

MEASURED: Final = "measured.json"
"""File among the results: what the card says of a model beside the one that it was made from."""

LINEAR: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The layers that an adapter changes: all linear ones of a block."""


@dataclass(frozen=True, slots=True)
class Base:
    """The weights that a job begins with: a GGUF file, or a folder of safetensors; `digest` identifies them."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One job. Paths are absolute; `steps` counts updates of the weights, and `rate` is the highest learning rate."""

    method: Method
    base: Base
    folder: str
    """Checkpoints and results; another attempt of the same job gets the same folder."""
    bases: str
    """Cache of bases as safetensors, which jobs share."""
    rows: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    retain: tuple[str, ...] = ()
    """Rows whose answers must stay as the base gives them; with none, the built-in questions are used."""
    teacher: Base | None = None
    steps: int = 20
    batch: int = 8
    rate: float = 5e-4
    rank: int = 8
    max_tokens: int = 512
    warmup: float = 0.1
    seed: int = 0
    beta: float = 0.1
    """Strength of the tie to the base in DPO and KTO."""
    sft_weight: float = 1.0
    """Weight of the loss on chosen answers in DPO."""
    retain_weight: float = 0.0
    """Weight of the divergence from the base off the task; 0 turns it off."""
    retain_batch: int = 4
    temperature: float = 1.0
    layers: int = 2
    """The number of blocks that pruning removes."""
    type: str = "Q4_K"
    """Mixture of types of a quantised file, one of `TYPES`."""
    checkpoint_every: int = 5
    threads: int = 1
    memory_bytes: int = 8_000_000_000
    """What the job may use: models that do not fit are not measured."""

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return Path(self.folder) / "out"

    @property
    def checkpoints(self) -> Path:
        return Path(self.folder) / "checkpoints"

    def write(self, path: Path) -> None:
        """Writes the plan to a file."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Reads a plan from a file."""
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("base", "teacher"):
            if fields.get(name) is not None:
                fields[name] = Base(**fields[name])
        for name in ("rows", "held_out", "retain"):
            fields[name] = tuple(fields.get(name) or ())
        return cls(**fields)


class RecipeFailed(Exception):
    """A job that another attempt would not help; `code` is for programs, and the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
