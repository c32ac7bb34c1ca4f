"""How long vLLM may take to start follows from the size of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.config import Geometry, VllmModel
from serving.engines.vllm import stored_bytes

MIB = 2**20
GEOMETRY = Geometry(parameters=100 * MIB, layers=1, kv_heads=1, head_dim=1)


def model(**settings: Any) -> VllmModel:
    return VllmModel.model_validate({"name": "m", "source": "hf://org/m", **settings})


def test_weights_of_known_size_add_their_time() -> None:
    """Two bytes per weight at 100 MiB/s, or four."""
    assert model().start_within_s() == 1800
    assert model(geometry=GEOMETRY).start_within_s() == 1802
    assert model(geometry=GEOMETRY, dtype="float32").start_within_s() == 1804


def test_fetched_files_count_if_they_are_larger() -> None:
    assert model().start_within_s(1000 * MIB + 1) == 1811
    assert model(geometry=GEOMETRY).start_within_s(MIB) == 1802


def test_a_timeout_of_the_model_replaces_it() -> None:
    assert model(geometry=GEOMETRY, start_timeout_s=30).start_within_s(1000 * MIB) == 30


def test_all_files_of_all_folders_are_weights(tmp_path: Path) -> None:
    for name in ("a/model-1.safetensors", "a/sub/model-2.safetensors", "b/adapter.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 7)
    assert stored_bytes([tmp_path / "a", tmp_path / "b"]) == 21
