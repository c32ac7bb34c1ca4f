"""A chunk's vector knows its title and heading."""

from __future__ import annotations

import numpy as np
import pytest

from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.types import Chunk
from serving.retrieval.vectors import chunk_vectors

TEXT = "It is done by hand, once a month, and takes about an hour."


def test_a_heading_moves_the_vector_of_its_chunk(embedder: OnnxEmbedder) -> None:
    titled = Chunk(0, "Handbook", "Rotate the API key", TEXT, 0, len(TEXT), None)
    bare = Chunk(1, "", "", TEXT, 0, len(TEXT), None)
    vectors = chunk_vectors([titled, bare], embedder)
    question, body, plain = embedder.embed(["How is a key rotated?", titled.body, bare.body])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert question @ vectors[0] > question @ body
    assert np.allclose(vectors[1], plain)
    assert chunk_vectors([], embedder).shape == (0, 384)
