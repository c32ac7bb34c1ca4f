from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Q
from gguf import GGUFReader, GGUFWriter, quants

from serving.tuning import gguf_file, quantising
from serving.tuning.interruption import TuningInterrupted
from serving.tuning.plan import TYPES, RecipeFailed
from serving.tuning.quantising import MIXTURES, Quantiser, quantise, type_of


class Said:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def say(self, event: str, **fields: int) -> None:
        self.steps.append((fields["step"], fields["of"]))


class Asked:
    """Asks to end after so many tensors; None never does."""

    def __init__(self, after: int | None = None) -> None:
        self._after = after

    def check(self, step: int = 0) -> None:
        if step == self._after:
            raise TuningInterrupted(step)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 8)
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "a", "é"])
    writer.add_array("tokenizer.ggml.token_type", [3, 1, 1])
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_float32("llama.rope.freq_base", 1e5)
    random = np.random.default_rng(0)
    writer.add_tensor("token_embd.weight", random.normal(0, 0.05, (3, 256)).astype(np.float32))
    for block in range(8):
        writer.add_tensor(f"blk.{block}.attn_norm.weight", np.ones(256, np.float32))
        writer.add_tensor(f"blk.{block}.attn_v.weight", random.normal(0, 0.05, (64, 256)).astype(np.float16))
        writer.add_tensor(f"blk.{block}.ffn_down.weight", random.normal(0, 0.05, (256, 96)).astype(np.float32))
    gguf_file.finish(writer)
    return path


def test_the_plan_knows_the_mixtures() -> None:
    assert tuple(MIXTURES) == TYPES


@pytest.mark.parametrize("type", [Q.Q8_0, Q.Q4_0, Q.Q5_0, Q.Q5_1])
def test_the_engine_quantises_as_gguf_does(type: Q) -> None:
    values = np.random.default_rng(1).normal(size=(3, 512)).astype(np.float32)
    assert np.array_equal(Quantiser().quantise(values, type), quants.quantize(values, type))


@pytest.mark.parametrize(("type", "error"), [(Q.Q6_K, 0.02), (Q.Q5_K, 0.04), (Q.Q4_K, 0.08)])
def test_blocks_of_256_values_are_close_to_their_source(type: Q, error: float) -> None:
    values = np.random.default_rng(1).normal(size=(4, 512)).astype(np.float32)
    read = quants.dequantize(Quantiser().quantise(values, type), type)
    assert np.sqrt(np.mean((read - values) ** 2)) < error


@pytest.mark.parametrize(
    ("name", "shape", "tied", "type"),
    [
        ("blk.0.attn_norm.weight", (576,), True, Q.F32),
        ("blk.0.attn_q.weight", (576, 512), True, Q.Q4_K),
        ("blk.0.attn_q.weight", (576, 576), True, Q.Q5_0),
        ("blk.0.attn_q.weight", (64, 40), True, Q.F16),
        ("token_embd.weight", (49152, 512), True, Q.Q6_K),
        ("token_embd.weight", (49152, 576), True, Q.Q8_0),
        ("token_embd.weight", (49152, 512), False, Q.Q4_K),
        ("output.weight", (49152, 512), False, Q.Q6_K),
        # More bits for the first and the last eighth of the blocks, and for each third one between them.
        ("blk.2.attn_v.weight", (64, 512), True, Q.Q6_K),
        ("blk.3.attn_v.weight", (64, 512), True, Q.Q4_K),
        ("blk.5.ffn_down.weight", (64, 512), True, Q.Q6_K),
        ("blk.29.ffn_down.weight", (64, 512), True, Q.Q6_K),
    ],
)
def test_each_tensor_gets_the_bits_that_it_needs(name: str, shape: tuple[int, ...], tied: bool, type: Q) -> None:
    assert type_of(name, shape, 30, MIXTURES["Q4_K"], tied=tied) == type


@pytest.mark.parametrize("name", TYPES)
def test_a_quantised_file_has_the_same_model(name: str, tiny: Path, tmp_path: Path) -> None:
    said = Said()
    quantise(tiny, name, tmp_path / "model.gguf", said, Asked())
    before, after = GGUFReader(tiny), GGUFReader(tmp_path / "model.gguf")
    assert said.steps == [(n, len(before.tensors)) for n in range(1, len(before.tensors) + 1)]
    for field in before.fields.values():
        if not field.name.startswith("GGUF."):
            assert gguf_file.metadata(after, field.name) == field.contents()
            assert after.get_field(field.name).types == field.types
    assert gguf_file.metadata(after, "general.file_type") == int(MIXTURES[name].file_type)
    for one, other in zip(before.tensors, after.tensors, strict=True):
        assert one.name == other.name
        values, read = gguf_file.values(one), gguf_file.values(other)
        assert values.shape == read.shape
        assert np.abs(values - read).max() < 0.05, one.name


def test_an_interrupted_file_does_not_appear(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningInterrupted):
        quantise(tiny, "Q8_0", tmp_path / "model.gguf", Said(), Asked(after=3))
    assert not (tmp_path / "model.gguf").exists()
    quantise(tiny, "Q8_0", tmp_path / "model.gguf", Said(), Asked())


def test_values_that_are_not_numbers_are_refused(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantising.gguf_file, "values", lambda tensor: np.full((2, 32), np.nan, np.float32))
    with pytest.raises(RecipeFailed, match="not numbers"):
        quantise(tiny, "Q8_0", tmp_path / "model.gguf", Said(), Asked())


def test_a_file_that_was_cut_off_is_refused(tiny: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:1_000])
    with pytest.raises(RecipeFailed, match=r"cut\.gguf is not a complete GGUF file"):
        quantise(cut, "Q8_0", tmp_path / "model.gguf", Said(), Asked())
