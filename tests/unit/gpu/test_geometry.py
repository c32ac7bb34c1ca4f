"""A model's numbers, read from the files that come with its weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from infra.gpu.geometry import from_folder
from serving.config import Geometry

LLAMA = {  # the config.json of Llama 3.1 8B, as far as it is read
    "hidden_size": 4096,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


def folder(path: Path, config: dict[str, Any], tensors: dict[str, tuple[str, list[int], int]] | None = None) -> Path:
    """A folder with a config.json, and safetensors of `tensors` (dtype, shape, bytes), header only."""
    (path / "config.json").write_text(json.dumps(config))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size) in (tensors or {"w": ("BF16", [4, 8], 64)}).items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def test_grouped_queries_are_read_from_the_configuration(tmp_path: Path) -> None:
    assert from_folder(folder(tmp_path, LLAMA)).geometry == Geometry(
        parameters=32,
        layers=32,
        kv_heads=8,
        head_dim=128,
        context=131072,
        hidden_size=4096,
        vocabulary=128256,
    )


def test_tensors_are_counted_as_they_will_lie_in_memory(tmp_path: Path) -> None:
    tensors = {"a": ("BF16", [4, 8], 64), "b": ("F32", [10], 40), "c": ("I8", [16], 16)}
    found = from_folder(folder(tmp_path, LLAMA, tensors))
    assert (found.geometry.parameters, found.bytes, found.quantized) == (58, 64 + 20 + 16, False)


def test_all_files_of_a_model_count(tmp_path: Path) -> None:
    folder(tmp_path, LLAMA)
    (tmp_path / "model-2.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes())
    assert from_folder(tmp_path).bytes == 128


def test_a_latent_cache_has_its_dimension(tmp_path: Path) -> None:
    config = {**LLAMA, "num_key_value_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    assert from_folder(folder(tmp_path, config)).geometry.latent_dim == 576


def test_sliding_windows_are_counted_by_layer(tmp_path: Path) -> None:
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    config = {**LLAMA, "num_hidden_layers": 6, "sliding_window": 1024, "layer_types": kinds, "head_dim": 256}
    geometry = from_folder(folder(tmp_path, config)).geometry
    assert (geometry.window, geometry.windowed_layers, geometry.head_dim) == (1024, 5, 256)


def test_a_window_that_is_switched_off_is_none(tmp_path: Path) -> None:
    config = {**LLAMA, "sliding_window": 1024, "use_sliding_window": False}
    assert from_folder(folder(tmp_path, config)).geometry.window is None


def test_a_model_that_also_sees_holds_its_language_model_inside(tmp_path: Path) -> None:
    found = from_folder(folder(tmp_path, {"text_config": LLAMA, "quantization_config": {"quant_method": "awq"}}))
    assert (found.geometry.layers, found.quantized) == (32, True)


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"num_attention_heads": "many"}'])
def test_a_broken_config_says_which_folder(tmp_path: Path, broken: str) -> None:
    folder(tmp_path, LLAMA)
    (tmp_path / "config.json").write_text(broken)
    with pytest.raises(ValueError, match=str(tmp_path)):
        from_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 2) + b"[]"])
def test_a_broken_file_is_no_geometry(tmp_path: Path, content: bytes) -> None:
    folder(tmp_path, LLAMA)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="model"):
        from_folder(tmp_path)
