"""Vectors include title and heading; precomputed vectors are used for exactly their text and embedder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.retrieval.embedders import precomputed
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.embedders.precomputed import PrecomputedVectors
from serving.retrieval.types import Chunk
from serving.retrieval.vectors import chunk_vectors

TEXT = "It is done by hand, once a month, and takes about an hour."


def test_a_heading_changes_the_vector_of_its_chunk(embedder: OnnxEmbedder) -> None:
    titled = Chunk(0, "Handbook", "Rotate the API key", TEXT, 0, len(TEXT), None)
    bare = Chunk(1, "", "", TEXT, 0, len(TEXT), None)
    vectors = chunk_vectors([titled, bare], embedder)
    question, body, plain = embedder.embed(["How is a key rotated?", titled.body, bare.body])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert question @ vectors[0] > question @ body
    assert np.allclose(vectors[1], plain)
    assert chunk_vectors([], embedder).shape == (0, 384)


class Counting:
    """An embedder whose vectors depend on the text alone; it records the texts."""

    dimensions = 8

    def __init__(self, id: str = "one") -> None:
        self.id = id
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        vectors = np.array([np.random.default_rng(len(text)).normal(size=8) for text in texts], np.float32)
        return vectors.reshape(-1, 8) / np.linalg.norm(vectors.reshape(-1, 8), axis=1, keepdims=True)


def test_precomputed_texts_are_not_embedded_again(tmp_path: Path) -> None:
    file = tmp_path / "precomputed.npz"
    assert precomputed.write(Counting(), ["a", "bb", "a"], file) == 2
    embedder = Counting()
    found = PrecomputedVectors(embedder, file).embed(["bb", "new text", "a"])
    assert embedder.asked == ["new text"]
    computed = Counting().embed(["bb", "new text", "a"])
    assert np.abs(found - computed).max() < 0.01  # a byte for each dimension
    assert np.allclose(np.linalg.norm(found, axis=1), 1)


def test_precomputed_vectors_of_another_embedder_are_not_used(tmp_path: Path) -> None:
    file = tmp_path / "precomputed.npz"
    precomputed.write(Counting(), ["a"], file)
    embedder = Counting("two")
    PrecomputedVectors(embedder, file).embed(["a"])
    assert embedder.asked == ["a"]


def test_an_update_embeds_new_texts_and_removes_old_ones(tmp_path: Path) -> None:
    file = tmp_path / "precomputed.npz"
    precomputed.write(Counting(), ["a", "bb"], file)
    embedder = Counting()
    assert precomputed.write(embedder, ["bb", "ccc"], file) == 2
    assert embedder.asked == ["ccc"]


def test_all_texts_are_embedded_without_a_file(tmp_path: Path) -> None:
    embedder = Counting()
    assert PrecomputedVectors(embedder, tmp_path / "none.npz").embed(["a", "a"]).shape == (2, 8)
    assert embedder.asked == ["a", "a"]
