"""A base model of one layer, and adapters that fit it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter
from safetensors.numpy import save_file

from serving.hub.base_facts import BaseFacts
from serving.hub.names import CONFIG, WEIGHTS

HEADS, KV_HEADS, WIDTH, RANK = 4, 2, 16, 2
Q, K, UP = (f"base_model.model.model.layers.0.{name}_proj" for name in ("self_attn.q", "self_attn.k", "mlp.up"))
SHAPES = {Q: (16, 16), K: (8, 16), UP: (24, 16)}
GGUF_NAMES = {Q: "blk.0.attn_q.weight", K: "blk.0.attn_k.weight", UP: "blk.0.ffn_up.weight"}
BASE = BaseFacts("0" * 64, "llama", 1, HEADS, KV_HEADS, {GGUF_NAMES[name]: SHAPES[name] for name in SHAPES}, 8)
SETTINGS: dict[str, Any] = {"peft_type": "LORA", "r": RANK, "lora_alpha": 4, "bias": "none"}

Tensors = dict[str, np.ndarray]


def tensors(rank: int = RANK) -> Tensors:
    random = np.random.default_rng(1)
    made = {}
    for name, (out, width) in SHAPES.items():
        made[f"{name}.lora_A.weight"] = random.normal(size=(rank, width)).astype(np.float32)
        made[f"{name}.lora_B.weight"] = random.normal(size=(out, rank)).astype(np.float32)
    return made


def written(folder: Path, content: Tensors, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(content, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(SETTINGS | settings))
    return folder


def write_base(file: Path) -> Path:
    """Writes the base as a GGUF file that has no vocabulary."""
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    for name, shape in BASE.shapes.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    return _closed(writer, file)


def write_gguf(file: Path, *, kind: str = "adapter", arch: str = "llama", alpha: float = 4, **tensors: Any) -> Path:
    """Writes an adapter as llama.cpp has it."""
    writer = GGUFWriter(file, arch)
    writer.add_type(kind)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    return _closed(writer, file)


def _closed(writer: GGUFWriter, file: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
