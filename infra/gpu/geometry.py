"""Reads a model's geometry from its configuration and weight headers, without loading the weights."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.config import Geometry

MAX_HEADER = 100_000_000
"""Largest safetensors header in bytes, as the format defines."""


@dataclass(frozen=True)
class LocalWeights:
    """Geometry and size of weights on this host, from their files."""

    geometry: Geometry
    bytes: int
    """Size of all tensors in memory. 32-bit floats count as 16 bits, as vLLM loads them by default."""
    quantized: bool


def from_folder(folder: Path) -> LocalWeights:
    """Reads `config.json` and the headers of `*.safetensors`.

    Raises `ValueError` or `OSError` if they are missing or malformed.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
        text = config.get("text_config", config)  # a multimodal model nests its language model
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ValueError("there are no *.safetensors files")
        counts = [_safetensors(file) for file in files]
        geometry = _from_config(text, sum(parameters for parameters, _ in counts))
    except (LookupError, TypeError, AttributeError, struct.error, json.JSONDecodeError) as e:
        raise ValueError(f"{folder}: cannot read the model's files: {e!r}") from None
    quantized = bool(config.get("quantization_config") or text.get("quantization_config"))
    return LocalWeights(geometry, sum(size for _, size in counts), quantized)


def _from_config(config: dict[str, Any], parameters: int) -> Geometry:
    heads = config["num_attention_heads"]
    latent = config.get("kv_lora_rank")
    kinds = config.get("layer_types") or []
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    return Geometry(
        parameters=parameters,
        layers=config["num_hidden_layers"],
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        latent_dim=latent + config["qk_rope_head_dim"] if latent else None,
        window=window,
        windowed_layers=kinds.count("sliding_attention") if kinds and window else None,
        context=config.get("max_position_embeddings"),
        hidden_size=config.get("hidden_size"),
        vocabulary=config.get("vocab_size"),
    )


def _safetensors(file: Path) -> tuple[int, int]:
    """Returns the number of elements and the bytes of a file's tensors.

    https://github.com/huggingface/safetensors#format
    """
    with file.open("rb") as f:
        [length] = struct.unpack("<Q", f.read(8))
        if length > MAX_HEADER:
            raise ValueError(f"{file}: not a safetensors file")
        header = json.loads(f.read(length))
    parameters = size = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        elements = 1
        for dimension in tensor["shape"]:
            elements *= dimension
        parameters += elements
        size += (end - begin) // (2 if tensor["dtype"] == "F32" else 1)
    return parameters, size
