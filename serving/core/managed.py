"""Metadata of the collections that the configuration manages."""

from __future__ import annotations

MANAGED = {"managed_by": "headrace"}
CHECKED_AT = "checked_at"
"""Key of a collection's metadata: when it was last found or made equal to its documents, in unix seconds."""
