"""Requests that rank documents by relevance."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serving.protocol.parts import Body, EndUser, ModelName, Text

MAX_DOCUMENTS = 1_000


class RerankDocument(Body):
    """A document as an object, as in Jina's and Cohere's first API versions."""

    text: Text


class RerankRequest(Body):
    """`POST /v1/rerank`."""

    model: ModelName
    query: Text
    documents: Annotated[list[Text | RerankDocument], Field(fail_fast=True, min_length=1, max_length=MAX_DOCUMENTS)]
    top_n: int | None = Field(default=None, ge=1, description="maximum number of returned documents; by default all")
    return_documents: bool = Field(default=False, description="whether each result includes its document")
    user: EndUser = None

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [each if isinstance(each, str) else each.text for each in self.documents]
