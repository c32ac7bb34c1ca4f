"""GGUF files made from others: the same metadata, other tensors. It needs gguf and numpy alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, Keys, LlamaFileType
from gguf.quants import dequantize
from numpy.typing import NDArray

from serving.tuning.plan import RecipeFailed

Array = NDArray[Any]

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
"""GGUF's names of the tensors of the architecture llama, and transformers'."""


def metadata(reader: GGUFReader, key: str) -> Any:
    """Returns a value of a file's metadata; None if it has none."""
    field = reader.get_field(key)
    return field.contents() if field is not None else None


def architecture(reader: GGUFReader) -> str:
    return str(metadata(reader, Keys.General.ARCHITECTURE))


def copied(reader: GGUFReader, out: Path, changed: Mapping[str, int]) -> GGUFWriter:
    """Returns a writer of a file with the metadata of another, some of whose numbers are `changed`."""
    writer = GGUFWriter(out, architecture(reader))
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in (Keys.General.ARCHITECTURE, *changed):
            continue
        sub_type = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    for name, value in changed.items():
        writer.add_uint32(name, value)
    return writer


def finish(writer: GGUFWriter) -> None:
    """Writes the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values(tensor: Any) -> Array:
    """Returns the numbers of a tensor as float32, whatever type it is stored in."""
    return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)


def write_model(base: str, weights: Mapping[str, Array], blocks: int, out: Path) -> None:
    """Writes weights of transformers as a GGUF file in float16, with the metadata of the base and `blocks` blocks.

    Raises `RecipeFailed` when the base's architecture is not llama's.
    """
    reader = GGUFReader(base)
    if architecture(reader) != "llama":
        raise RecipeFailed("unsupported_base", f"only bases of the architecture llama can be pruned, not {base}")
    heads = int(metadata(reader, "llama.attention.head_count"))
    kv_heads = int(metadata(reader, "llama.attention.head_count_kv") or heads)
    changed = {"llama.block_count": blocks, Keys.General.FILE_TYPE: int(LlamaFileType.MOSTLY_F16)}
    writer = copied(reader, out, changed)
    for tensor in reader.tensors:
        block = _BLOCK.fullmatch(tensor.name)
        if block is None and tensor.name not in _NAMES:
            continue  # factors of the rotary embedding, which transformers computes
        if block is not None and int(block[1]) >= blocks:
            continue
        name = _NAMES[tensor.name] if block is None else f"model.layers.{block[1]}.{_NAMES[block[2]]}"
        weight = weights[name]
        if block is not None and block[2] in ("attn_q.weight", "attn_k.weight"):
            weight = rotated(weight, heads if block[2] == "attn_q.weight" else kv_heads)
        if weight.ndim == 1:
            writer.add_tensor(tensor.name, np.ascontiguousarray(weight, np.float32))
        else:
            writer.add_tensor(tensor.name, np.ascontiguousarray(weight, np.float16), raw_dtype=GGMLQuantizationType.F16)
    finish(writer)


def rotated(weight: Array, heads: int) -> Array:
    """Returns the rows of a projection to queries or keys in the order of llama.cpp's rotary embedding."""
    by_head = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return by_head.swapaxes(1, 2).reshape(weight.shape)
