"""Facts of base models: the highest rank, and the digest of the weights that are on this host."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from serving.config import AdapterBounds, LlamaCppModel, VllmModel
from serving.hub.bases import Bases, BaseUnreadable
from tests.hub.adapters import BASE, write_base


async def test_a_base_of_llama_cpp_is_read_again_when_it_changed(tmp_path: Path) -> None:
    file, bases = write_base(tmp_path / "base.gguf"), Bases()
    bounded = LlamaCppModel(name="m", source=f"file://{file}", adapters=AdapterBounds(rank=8))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert await bases.facts(bounded) == replace(BASE, digest=digest, max_rank=8)
    assert (await bases.facts(bounded.model_copy(update={"adapters": None}))).max_rank == 256
    file.write_bytes(file.read_bytes() + b"0")
    assert (await bases.facts(bounded)).digest == hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    with pytest.raises(BaseUnreadable, match="cannot be read by this gateway"):
        await bases.facts(bounded)


async def test_the_digest_of_a_folder_is_that_of_its_sums(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors", "config.json"):
        (tmp_path / name).write_bytes(name.encode())
    sums = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in ("a.safetensors", "b.safetensors")]
    facts = await Bases().facts(VllmModel(name="m", source=f"file://{tmp_path}"))
    assert (facts.digest, facts.architecture) == (hashlib.sha256("".join(sums).encode()).hexdigest(), None)
    assert (await Bases().facts(VllmModel(name="m", source="hf://org/m"))).digest == ""
