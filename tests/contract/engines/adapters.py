"""LoRA adapters with random or broken weights for the tests' model, as GGUF files and in live sets."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from serving.store.objects.live_adapters import AdapterFile, LiveAdapter, LiveSet, LiveSets

WIDTH = 576
"""Width of SmolLM2-135M, whose layers have it."""
LAYERS = 30
_STRING, _FLOAT = 8, 6
_ALIGNMENT = 32


def random_adapter(
    file: Path, seed: int = 0, *, rank: int = 4, size: float = 0.5, architecture: str = "llama", layers: int = LAYERS
) -> Path:
    """Writes an adapter of the queries and outputs of attention. `size` is how much it changes the model."""
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers):
        for part in ("attn_q", "attn_output"):
            name = f"blk.{layer}.{part}.weight"
            tensors[f"{name}.lora_a"] = random.normal(0, size / WIDTH**0.5, (rank, WIDTH)).astype("<f4")
            tensors[f"{name}.lora_b"] = random.normal(0, size, (WIDTH, rank)).astype("<f4")
    return write(file, tensors, alpha=rank, architecture=architecture)


def nan_adapter(file: Path) -> Path:
    """Writes an adapter that llama.cpp loads, and whose answers are nonsense."""
    a, b = np.full((4, WIDTH), np.nan, "<f4"), np.full((WIDTH, 4), np.nan, "<f4")
    return write(file, {"blk.0.attn_q.weight.lora_a": a, "blk.0.attn_q.weight.lora_b": b}, alpha=4)


def write(file: Path, tensors: Mapping[str, np.ndarray], *, alpha: float, architecture: str = "llama") -> Path:
    """Writes a GGUF file, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""
    texts = {"general.type": "adapter", "general.architecture": architecture, "adapter.type": "lora"}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(texts) + 1)
    for key, value in texts.items():
        head += _string(key) + struct.pack("<I", _STRING) + _string(value)
    head += _string("adapter.lora.alpha") + struct.pack("<If", _FLOAT, alpha)
    data = b""
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]  # GGUF names the fastest dimension first
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += _padded(tensor.tobytes())
    file.write_bytes(_padded(head) + data)
    return file


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)


def stored(place: Path, name: str, content: bytes, *, tenants: tuple[str, ...] = ("t",), rank: int = 4) -> LiveAdapter:
    """Puts the GGUF file of a version into a folder of the hub, and returns its entry of a live set."""
    version = f"mver_{name.replace('.', '_')}"
    (place / version).mkdir(parents=True)
    (place / version / "adapter.gguf").write_bytes(content)
    return LiveAdapter(name, version, artefacts_of(place / version, ["adapter.gguf"]), rank, tenants)


def artefacts_of(folder: Path, names: Iterable[str]) -> tuple[AdapterFile, ...]:
    """Returns the artefacts of a version whose files are in a folder."""
    contents = {name: (folder / name).read_bytes() for name in names}
    return tuple(AdapterFile(name, len(c), hashlib.sha256(c).hexdigest()) for name, c in contents.items())


def publish(sets: LiveSets, base: str, adapters: Iterable[LiveAdapter]) -> None:
    """Makes these the live adapters of a model."""
    sets.write(base, LiveSet(sets.read(base).revision + 1, tuple(adapters)))
