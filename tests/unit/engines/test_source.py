"""Weights: those that were named, and none that were exchanged."""

from __future__ import annotations

import hashlib

import pytest

from serving.engines.source import resolve


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF weights")
    return file


def test_weights_with_their_checksum_are_taken(weights):
    digest = hashlib.sha256(b"GGUF weights").hexdigest()
    assert resolve(f"file://{weights}", digest) == weights
    assert resolve(f"file://{weights}") == weights


def test_weights_that_were_exchanged_are_refused(weights):
    digest = hashlib.sha256(b"GGUF weights").hexdigest()
    weights.write_bytes(b"GGUF others!")
    with pytest.raises(ValueError, match="its sha256 is"):
        resolve(f"file://{weights}", digest)
