"""Vectors that were computed are kept, for each embedder and role, whenever a benchmark is interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.kept_vectors import PROBE, TOGETHER, KeptVectors
from serving.retrieval.embedders.embedder import Role, Vectors


class Counting:
    """Embeds texts by their length, notes each, and fails at a text `stop`."""

    dimensions = 3

    def __init__(self, name: str = "counting", window: int = 512) -> None:
        self.id = name
        self.window = window
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str], role: Role) -> Vectors:
        if "stop" in texts:
            raise KeyboardInterrupt
        self.embedded += [text for text in texts if text != PROBE]
        return np.array([[min(len(text), self.window), role == "query", 1] for text in texts], np.float32)


def test_a_vector_is_computed_once_for_each_embedder_and_role(tmp_path: Path) -> None:
    first, again, other = Counting(), Counting(), Counting("other")
    vectors = KeptVectors(first, "bench", tmp_path).embed(["a", "bcd", "a"])
    assert vectors.tolist() == [[1, 0, 1], [3, 0, 1], [1, 0, 1]]
    assert first.embedded == ["a", "bcd"]
    kept = KeptVectors(again, "bench", tmp_path)
    assert kept.embed(["bcd", "a"]).tolist() == [[3, 0, 1], [1, 0, 1]]
    assert kept.computed == 0
    assert kept.embed(["a"], "query").tolist() == [[1, 1, 1]]
    assert again.embedded == ["a"]
    KeptVectors(other, "bench", tmp_path).embed(["a"])
    assert other.embedded == ["a"]
    assert kept.embed([]).shape == (0, 3)


def test_vectors_of_an_embedder_that_has_changed_are_forgotten(tmp_path: Path) -> None:
    KeptVectors(Counting(), "bench", tmp_path).embed(["a"])
    changed = Counting(window=256)
    KeptVectors(changed, "bench", tmp_path).embed(["a"])
    assert changed.embedded == ["a"]
    again = Counting(window=256)
    KeptVectors(again, "bench", tmp_path).embed(["a"])
    assert again.embedded == []


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    texts = [f"{n}" for n in range(TOGETHER)] + ["stop"]
    with pytest.raises(KeyboardInterrupt):
        KeptVectors(Counting(), "bench", tmp_path).embed(texts)
    [file] = tmp_path.iterdir()
    with file.open("ab") as torn:
        torn.write(b"part of a record")
    again = Counting()
    assert KeptVectors(again, "bench", tmp_path).embed([*texts[:TOGETHER], "new"])[-1].tolist() == [3, 0, 1]
    assert again.embedded == ["new"]
    assert KeptVectors(Counting(), "bench", tmp_path).embed(["new"]).tolist() == [[3, 0, 1]]
