"""The local embedders' vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serving.config import JUDGE, LOCAL_EMBEDDERS
from serving.retrieval.embedders import onnx
from serving.retrieval.embedders.local_models import LOCAL_MODELS
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.text.tokens import package_file


def test_vectors_have_unit_length_and_reflect_meaning(embedder: OnnxEmbedder) -> None:
    vectors = embedder.embed(["A cat sleeps.", "A kitten is asleep.", "The turbine failed."])
    assert vectors.shape == (3, embedder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]


def test_a_vector_does_not_depend_on_its_batch(embedder: OnnxEmbedder) -> None:
    texts = ["short", "a longer text " * 40, "middle length of some words", ""]
    together = embedder.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        assert embedder.embed([text])[0] @ vector == pytest.approx(1, abs=1e-4)


def test_an_empty_batch_gives_no_vectors(embedder: OnnxEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 384)


def test_tokens_are_counted_without_truncation(embedder: OnnxEmbedder) -> None:
    assert embedder.count_tokens("hello world") == 2
    assert embedder.count_tokens("hello " * 1000) == 1000


def test_the_id_contains_the_version_of_the_weights(embedder: OnnxEmbedder) -> None:
    assert embedder.id == OnnxEmbedder(JUDGE).id
    assert embedder.id.startswith("all-minilm-l6-v2-int8-")


def test_the_error_names_a_missing_package() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-package"):
        package_file("no_such_package", "x")


def test_a_long_text_is_embedded_to_its_end(embedder: OnnxEmbedder) -> None:
    start, ends = "The heron stands in the river. " * 50, ("It eats fish.", "Interest rates were raised again.")
    texts = [start + end * 20 for end in ends]
    assert embedder.count_tokens(start) > embedder.max_tokens
    cut = embedder.embed(texts)
    assert cut[0] @ cut[1] > 0.9999
    whole = embedder.embed_whole([*texts, "short", "", "x" * 5000, ends[1]])
    assert np.allclose(np.linalg.norm(whole, axis=1), 1)
    assert whole[0] @ whole[1] < 0.97
    assert whole[1] @ whole[5] > whole[0] @ whole[5] + 0.1
    assert np.allclose(whole[2:4], embedder.embed(["short", ""]), atol=1e-6)


def test_a_model_uses_its_own_prefixes_and_pooling(monkeypatch: pytest.MonkeyPatch, embedder: OnnxEmbedder) -> None:
    told = replace(LOCAL_MODELS[JUDGE], query_prefix="query: ", passage_prefix="passage: ")
    models = {"told": told, "first": replace(told, pooling="first")}
    monkeypatch.setattr(onnx, "LOCAL_MODELS", models)
    asked = OnnxEmbedder("told")
    assert asked.id.startswith("told-int8-")
    query, passage = asked.embed(["heron"], "query")[0], asked.embed(["heron"])[0]
    expected = embedder.embed(["query: heron", "passage: heron"])
    assert np.allclose([query, passage], expected, atol=1e-6)
    assert np.allclose(asked.embed_whole(["heron"], "query")[0], query, atol=1e-6)
    assert OnnxEmbedder("first").embed(["heron"])[0] @ passage < 0.999


@pytest.mark.parametrize("name", LOCAL_MODELS)
def test_a_local_model_has_the_dimensions_and_tokens_of_its_table(name: str) -> None:
    embedder = OnnxEmbedder(name)
    vectors = embedder.embed(["A cat sleeps.", "A kitten is asleep.", "The turbine failed."])
    assert vectors.shape == (3, embedder.dimensions)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_the_configuration_knows_every_local_embedder() -> None:
    assert set(LOCAL_EMBEDDERS) == set(LOCAL_MODELS)
