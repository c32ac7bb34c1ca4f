"""Manifests of other formats are refused with the reason."""

from __future__ import annotations

import pytest

from serving.retrieval.errors import IncompatibleCollection
from serving.retrieval.manifest import CollectionManifest

MANIFEST = CollectionManifest("e", 8, 200, 30, "1")


def test_a_manifest_is_read_as_written() -> None:
    assert CollectionManifest.from_json(MANIFEST.to_json()) == MANIFEST


@pytest.mark.parametrize(
    ("text", "reason"), [("", "read"), ("[]", "read"), ('{"format": 99}', "99"), ('{"format": 1}', "read")]
)
def test_an_invalid_manifest_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(IncompatibleCollection, match=reason):
        CollectionManifest.from_json(text)
