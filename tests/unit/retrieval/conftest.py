"""Shared, read-only fixtures of retrieval: the embedder (0.3 s to load)."""

from __future__ import annotations

import pytest

from serving.retrieval.embed import Embedder


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder()
