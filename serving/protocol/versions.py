"""Requests about versions of models and adapters."""

from __future__ import annotations

from pydantic import Field

from serving.protocol.parts import Text
from serving.protocol.tuning import HubBody


class VersionRetirement(HubBody):
    """Why a version is retired."""

    reason: Text = Field(default="", max_length=2000)
    delete_artefacts: bool = Field(default=False, description="whether its files are deleted; its record stays")
