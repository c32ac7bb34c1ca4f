"""What an adapter must fit: the shapes of a base model's weights, from its GGUF file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_RANK = 256
"""Maximum rank where the engine has no other."""


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """A base model: its architecture in GGUF's terms, and the shape (out, in) of each weight matrix by GGUF's name.

    Without an architecture its weights are not on this host: names and shapes of an adapter are then only compared with
    each other. `digest` is the SHA-256 of its weights.
    """

    digest: str
    architecture: str | None = None
    blocks: int = 0
    heads: int = 0
    kv_heads: int = 0
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    max_rank: int = DEFAULT_RANK


def base_facts(file: Path, *, digest: str | None = None, max_rank: int = DEFAULT_RANK) -> BaseFacts:
    """Returns the facts of a GGUF file, which is trusted; it is read completely if its `digest` is not given."""
    from gguf import GGUFReader  # by those who need it alone: it loads numpy

    if digest is None:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    reader = GGUFReader(file)
    architecture = str(_field(reader, "general.architecture"))
    heads = int(_field(reader, f"{architecture}.attention.head_count"))
    return BaseFacts(
        digest=digest,
        architecture=architecture,
        blocks=int(_field(reader, f"{architecture}.block_count")),
        heads=heads,
        kv_heads=int(_field(reader, f"{architecture}.attention.head_count_kv", heads)),
        # GGUF has the fastest dimension first.
        shapes={
            tensor.name: (int(tensor.shape[1]), int(tensor.shape[0]))
            for tensor in reader.tensors
            if len(tensor.shape) == 2
        },
        max_rank=max_rank,
    )


def _field(reader: Any, name: str, default: Any = None) -> Any:
    found = reader.get_field(name)
    if found is None:
        if default is None:
            raise ValueError(f"the file has no {name}")
        return default
    return found.contents()
