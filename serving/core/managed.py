"""Metadata of the collections that the configuration manages."""

from __future__ import annotations

from collections.abc import Mapping

MANAGED = {"managed_by": "headrace"}
CHECKED_AT = "checked_at"
"""Metadata key of a collection: when it was last found or made equal to its documents, in unix seconds."""


def managed(metadata: Mapping[str, str]) -> bool:
    """Returns whether a collection with this metadata is synchronised with a folder of the configuration."""
    return MANAGED.items() <= metadata.items()
