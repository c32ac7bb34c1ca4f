"""A small model of random weights, with the tokenizer and the chat template of SmolLM2, as a GGUF file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

WIDTH, INNER, HEADS, KV_HEADS = 64, 128, 4, 2
OWN = {
    "llama.block_count": None,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.rope.dimension_count": WIDTH // HEADS,
    "general.file_type": 0,
}


def write(like: Path, target: Path, *, blocks: int = 4, seed: int = 0) -> Path:
    """Writes a model of `blocks` blocks with the metadata of the file `like`, and returns its path."""
    reader = GGUFReader(like)
    writer = GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", *OWN):
            sub_type = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    for name, value in OWN.items():
        writer.add_uint32(name, blocks if value is None else value)
    words = len(reader.fields["tokenizer.ggml.tokens"].data)
    random = np.random.default_rng(seed)

    def add(name: str, *shape: int) -> None:
        values = np.ones(shape) if len(shape) == 1 else random.normal(0, 0.05, shape)
        writer.add_tensor(name, values.astype(np.float32))

    add("token_embd.weight", words, WIDTH)
    add("output_norm.weight", WIDTH)
    for block in range(blocks):
        at = f"blk.{block}"
        add(f"{at}.attn_norm.weight", WIDTH)
        add(f"{at}.attn_q.weight", WIDTH, WIDTH)
        add(f"{at}.attn_k.weight", WIDTH // HEADS * KV_HEADS, WIDTH)
        add(f"{at}.attn_v.weight", WIDTH // HEADS * KV_HEADS, WIDTH)
        add(f"{at}.attn_output.weight", WIDTH, WIDTH)
        add(f"{at}.ffn_norm.weight", WIDTH)
        add(f"{at}.ffn_gate.weight", INNER, WIDTH)
        add(f"{at}.ffn_up.weight", INNER, WIDTH)
        add(f"{at}.ffn_down.weight", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
