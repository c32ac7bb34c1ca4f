"""Requests about versions of models and adapters."""

from __future__ import annotations

from pydantic import Field

from serving.protocol.parts import Body, Text


class VersionRetirement(Body):
    """Why a version is retired."""

    reason: Text = Field(default="", max_length=2000)
    delete_artefacts: bool = Field(default=False, description="whether its files are deleted; its record stays")
