"""The embedder's vectors."""

from __future__ import annotations

import numpy as np
import pytest

from serving.retrieval.embed import Embedder, package_file


def test_unit_vectors_that_mean_something(embedder: Embedder) -> None:
    vectors = embedder.embed(["A cat sleeps.", "A kitten is asleep.", "The turbine failed."])
    assert vectors.shape == (3, embedder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]


def test_a_vector_does_not_depend_on_its_batch(embedder: Embedder) -> None:
    texts = ["short", "a longer text " * 40, "middle length of some words", ""]
    together = embedder.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        assert embedder.embed([text])[0] @ vector == pytest.approx(1, abs=1e-4)


def test_nothing_gives_nothing(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, 384)


def test_counts_tokens_without_truncation(embedder: Embedder) -> None:
    assert embedder.count_tokens("hello world") == 2
    assert embedder.count_tokens("hello " * 1000) == 1000


def test_the_id_names_the_weights(embedder: Embedder) -> None:
    assert embedder.id == Embedder().id
    assert embedder.id.startswith("all-minilm-l6-v2-int8-")


def test_a_missing_package_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-package"):
        package_file("no_such_package", "x")


def test_a_long_text_is_read_to_its_end(embedder: Embedder) -> None:
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
