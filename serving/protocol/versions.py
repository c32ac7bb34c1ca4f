"""Requests about versions of models and adapters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.protocol.parts import Body, Text


class VersionRetirement(Body):
    """Why a version is retired."""

    reason: Text = Field(default="", max_length=2000)
    delete_artefacts: bool = Field(default=False, description="whether its files are deleted; its record stays")


class ConsentRevocation(Body):
    """Which tenant may no longer use a version."""

    tenant: Text = Field(min_length=1, max_length=128, description="the other tenant")


class ConsentRequest(ConsentRevocation):
    """Which tenant may use a version of the caller's tenant, and how."""

    scope: Literal["call", "release"] = Field(
        default="call", description="call it by its model name, or also release it behind aliases of its own"
    )
