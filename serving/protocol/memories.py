"""Requests about memories of a user."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from serving.protocol.parts import Body, ModelName
from serving.store.memories import MAX_TEXT

MemoryText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class MemoryRequest(Body):
    """`POST /v1/memories`, which OpenAI's API lacks: a statement about the caller, for an assistant."""

    assistant: ModelName
    text: MemoryText


class MemoryUpdate(Body):
    """`POST /v1/memories/{id}`."""

    text: MemoryText


class ErasureRequest(Body):
    """`POST /v1/admin/erasures`."""

    user: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
    dry_run: bool = False
