"""Metadata of the collections that the configuration manages."""

from __future__ import annotations

from collections.abc import Mapping

MANAGED = {"managed_by": "headrace"}
CHECKED_AT = "checked_at"
"""Key of a collection's metadata: when it was last found or made equal to its documents, in unix seconds."""


def managed(metadata: Mapping[str, str]) -> bool:
    """Whether a collection with this metadata follows a folder of the configuration."""
    return MANAGED.items() <= metadata.items()
