"""Adapters: those that do not fit are refused, and those that do mean the same in llama.cpp's format."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from serving.hub.adapter import InvalidAdapter, check_adapter, permuted, to_gguf
from serving.hub.adapter_child import prepare_adapter
from serving.hub.base_facts import BaseFacts, base_facts
from serving.hub.gguf_adapter import check_gguf
from serving.hub.names import CONFIG, GGUF, WEIGHTS
from tests.hub.adapters import (
    BASE,
    GGUF_NAMES,
    HEADS,
    KV_HEADS,
    RANK,
    SHAPES,
    UP,
    WIDTH,
    K,
    Q,
    Tensors,
    tensors,
    write_base,
    write_gguf,
    written,
)


def read(file: Path) -> tuple[float, Tensors]:
    reader = GGUFReader(file)
    alpha = reader.get_field("adapter.lora.alpha")
    assert alpha is not None
    return float(alpha.contents()), {t.name: np.array(t.data, dtype=np.float32) for t in reader.tensors}


@pytest.mark.parametrize(
    ("settings", "scales"),
    [
        ({}, dict.fromkeys(SHAPES, 2.0)),
        ({"use_rslora": True}, dict.fromkeys(SHAPES, 4 / math.sqrt(2))),
        ({"alpha_pattern": {"q_proj": 1}}, {Q: 0.5, K: 2.0, UP: 2.0}),
    ],
)
def test_a_converted_adapter_means_the_same(tmp_path: Path, settings: Any, scales: dict[str, float]) -> None:
    content = tensors()
    folder = written(tmp_path / "a", content, **settings)
    facts = check_adapter(folder, BASE)
    assert (facts.rank, facts.modules, facts.parameters) == (RANK, 3, sum(each.size for each in content.values()))
    to_gguf(folder, BASE, folder / GGUF)
    alpha, made = read(folder / GGUF)
    for name, scale in scales.items():
        of = GGUF_NAMES[name]
        added = alpha / RANK * made[f"{of}.lora_b"] @ made[f"{of}.lora_a"]
        meant = scale * content[f"{name}.lora_B.weight"] @ content[f"{name}.lora_A.weight"]
        if name != UP:
            meant = permuted(meant, HEADS if name == Q else KV_HEADS)
        np.testing.assert_allclose(added, meant, rtol=0.01, atol=0.01)
    assert check_gguf(folder / GGUF, BASE) == facts


def test_sixteen_bits_are_read(tmp_path: Path) -> None:
    content = {name: np.round(values * 4) / 4 for name, values in tensors().items()}  # exact in BF16
    folder = written(tmp_path / "a", content)
    to_gguf(folder, BASE, tmp_path / "float32")
    # By hand, since numpy has no BF16: the length of a JSON header, the header, and the values.
    header, values = {}, b""
    for name, each in content.items():
        half = (each.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        offsets = [len(values), len(values) + len(half)]
        header[name] = {"dtype": "BF16", "shape": each.shape, "data_offsets": offsets}
        values += half
    described = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(described).to_bytes(8, "little") + described + values)
    to_gguf(folder, BASE, tmp_path / "bfloat16")
    assert (tmp_path / "bfloat16").read_bytes() == (tmp_path / "float32").read_bytes()


def test_the_order_of_rows_is_that_of_llama_cpp() -> None:
    """As its own conversion of a base model's queries and keys (`LlamaModel.permute`)."""
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert permuted(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_only_llama_permutes(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", content := tensors())
    qwen = BaseFacts("0" * 64, "qwen3", 1, HEADS, KV_HEADS, BASE.shapes, 8)
    to_gguf(folder, qwen, folder / GGUF)
    _, made = read(folder / GGUF)
    np.testing.assert_allclose(made["blk.0.attn_q.weight.lora_b"], content[f"{Q}.lora_B.weight"], rtol=0.01)


def test_large_values_stay_finite(tmp_path: Path) -> None:
    content = tensors()
    content[f"{UP}.lora_A.weight"] *= np.float32(1e6)
    to_gguf(written(tmp_path / "a", content), BASE, tmp_path / GGUF)
    assert check_gguf(tmp_path / GGUF, BASE).rank == RANK


def changed(name: str, value: np.ndarray | None) -> Callable[[], Tensors]:
    def change() -> Tensors:
        content = tensors()
        del content[name]
        return content if value is None else content | {name: value}

    return change


def added(name: str, *shape: int) -> Callable[[], Tensors]:
    return lambda: tensors() | {name: np.zeros(shape, np.float32)}


NAN = np.full((RANK, WIDTH), np.nan, np.float32)
A = f"{Q}.lora_A.weight"
BAD: list[tuple[str, Callable[[], Tensors], dict[str, Any]]] = [
    ("not finite", changed(A, NAN), {}),
    ("not finite", changed(A, np.full((RANK, WIDTH), np.inf, np.float16)), {}),
    ("only one of its halves", changed(A, None), {}),
    ("do not match", changed(A, np.zeros((RANK + 1, WIDTH), np.float32)), {}),
    ("do not match", changed(A, np.zeros((WIDTH,), np.float32)), {}),
    ("another model", changed(A, np.zeros((RANK, WIDTH + 1), np.float32)), {}),
    ("neither F32", changed(A, np.zeros((RANK, WIDTH), np.int8)), {}),
    ("rank is 9", lambda: tensors(9), {}),
    ("rank is 0", lambda: tensors(0), {}),
    ("another model", lambda: {name.replace("layers.0", "layers.1"): of for name, of in tensors().items()}, {}),
    ("tensors other than", added(f"{Q}.lora_magnitude_vector", 16), {}),
    ("tensors other than", added("base_model.model.lm_head.weight", 16, 16), {}),
    ("tensors other than", added("base_model.model.model.embed_tokens.lora_embedding_A", 2, 16), {}),
    ("a half twice", added(f"{Q}.lora_A.default.weight", 2, 16), {}),
    ("no tensors", dict, {}),
    ("DoRA", tensors, {"use_dora": True}),
    ("biases", tensors, {"bias": "all"}),
    ("modules_to_save", tensors, {"modules_to_save": ["lm_head"]}),
    ("changes the base", tensors, {"init_lora_weights": "pissa_niter_4"}),
    ("not LORA", tensors, {"peft_type": "IA3"}),
    ("lora_alpha", tensors, {"lora_alpha": math.inf}),
    ("lora_alpha", tensors, {"lora_alpha": "8"}),
    ("lora_alpha", tensors, {"lora_alpha": 1e-60}),
    ("regular expressions", tensors, {"alpha_pattern": {"(a+)+$": 1}}),
]


def test_unsuitable_adapters_are_rejected_and_not_converted(tmp_path: Path) -> None:
    for n, (reason, content, settings) in enumerate(BAD):
        folder = written(tmp_path / str(n), content(), **settings)
        with pytest.raises(InvalidAdapter, match=reason):
            check_adapter(folder, BASE)
        with pytest.raises(InvalidAdapter, match=reason):
            to_gguf(folder, BASE, folder / GGUF)
        assert not (folder / GGUF).exists()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", tensors())
    to_gguf(whole, BASE, whole / GGUF)
    for name in (WEIGHTS, CONFIG, GGUF):
        content = (whole / name).read_bytes()
        header_says_more = (1 << 62).to_bytes(8, "little") + content[8:]
        for damaged in (b"", b"PK\x03\x04", content[:-1], content[: len(content) // 2], header_says_more, None):
            folder = written(tmp_path / "damaged", tensors())
            (folder / GGUF).write_bytes((whole / GGUF).read_bytes())
            (folder / name).unlink() if damaged is None else (folder / name).write_bytes(damaged)
            with pytest.raises(InvalidAdapter):
                check_gguf(folder / GGUF, BASE) if name == GGUF else check_adapter(folder, BASE)


def test_a_gguf_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    q = GGUF_NAMES[Q]
    good = {f"{q}.lora_a": np.ones((2, 16), np.float32), f"{q}.lora_b": np.ones((16, 2), np.float32)}
    assert check_gguf(write_gguf(tmp_path / "good", **good), BASE).rank == 2
    bad: list[tuple[str, dict[str, Any]]] = [
        ("no LoRA adapter", {"kind": "model"}),
        ("its architecture", {"arch": "qwen3"}),
        ("its alpha", {"alpha": math.nan}),
        ("only one of its halves", {f"{q}.lora_b": None}),
        ("not finite", {f"{q}.lora_a": NAN}),
        ("shape of a matrix", {f"{q}.lora_a": np.ones((2, 17), np.float32)}),
        ("rank is 9", {f"{q}.lora_a": np.ones((9, 16), np.float32), f"{q}.lora_b": np.ones((16, 9), np.float32)}),
        ("does not have", {"blk.7.attn_q.weight.lora_a": np.ones((2, 16), np.float32)}),
        ("no tensors", dict.fromkeys(good)),
    ]
    for n, (reason, change) in enumerate(bad):
        given = {name: value for name, value in (good | change).items() if value is not None}
        with pytest.raises(InvalidAdapter, match=reason):
            check_gguf(write_gguf(tmp_path / str(n), **given), BASE)


def test_a_child_process_checks_and_converts(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", tensors())
    facts = prepare_adapter(folder, BASE)
    assert facts == check_gguf(folder / GGUF, BASE)
    (folder / GGUF).rename(tmp_path / GGUF)
    (folder / WEIGHTS).unlink()
    (tmp_path / GGUF).rename(folder / GGUF)
    assert prepare_adapter(folder, BASE) == facts
    with pytest.raises(InvalidAdapter, match="not finite"):
        prepare_adapter(written(tmp_path / "b", changed(A, NAN)()), BASE)


def test_a_full_disk_is_not_the_adapters_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.hub.adapter_child.ask", lambda *_, **__: b'{"disk": "No space left on device"}')
    with pytest.raises(OSError, match="No space left"):
        prepare_adapter(tmp_path, BASE)


def test_without_the_bases_weights_only_the_adapter_is_checked(tmp_path: Path) -> None:
    unknown = BaseFacts("0" * 64)
    folder = written(tmp_path / "a", tensors())
    assert prepare_adapter(folder, unknown).rank == RANK
    assert not (folder / GGUF).exists()
    odd = {
        f"base_model.model.model.layers.0.mlp.router.lora_{half}.weight": np.ones((2, 2), np.float32) for half in "AB"
    }
    with pytest.raises(InvalidAdapter, match="modules other than"):
        check_adapter(written(tmp_path / "b", odd), unknown)


def test_facts_are_read_of_a_base(tmp_path: Path) -> None:
    write_base(tmp_path / "base.gguf")
    facts = base_facts(tmp_path / "base.gguf", digest="0" * 64, max_rank=8)
    assert facts == BASE
    assert len(base_facts(tmp_path / "base.gguf").digest) == 64
