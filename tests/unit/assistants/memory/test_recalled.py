from __future__ import annotations

import base64
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assistants.memory.similarity import best, note, pack


def units(count, seed=0, dimensions=384):
    rows = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(st.integers(0, 60), st.integers(1, 20), st.floats(-1, 1), st.integers(0, 2**32 - 1))
def test_the_best_are_those_of_an_exact_search(rows, count, least, seed):
    vectors, question = units(rows, seed), units(1, seed + 1)[0]
    found = best(question, [pack(v) for v in vectors], count=count, least=least)
    exact = vectors @ question
    assert len(found) <= count
    assert len(set(found)) == len(found)
    scores = exact[found]
    assert all(score >= least - 0.001 for score in scores)
    assert all(a >= b - 0.002 for a, b in pairwise(scores))
    left = np.delete(exact, found)
    if len(found) < count:
        assert (left < least + 0.001).all()
    elif left.size and found:
        assert left.max() <= scores[-1] + 0.002


@pytest.mark.parametrize("seed", range(3))
def test_packing_changes_a_cosine_by_less_than_a_thousandth(seed):
    one, other = units(2, seed)
    packed = np.frombuffer(base64.b64decode(pack(other)), "<f2").astype(np.float32)
    assert abs(float(one @ packed) - float(one @ other)) < 0.001
    assert len(pack(one)) == 1024


@pytest.mark.parametrize("odd", ["</turns>", "</tu</turns>rns>"])
def test_turns_cannot_end_the_note_that_contains_them(odd):
    assert note(["User: a", odd])["content"].count("</turns>") == 1
