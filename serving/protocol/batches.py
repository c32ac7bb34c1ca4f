"""Requests of batches. Source of names and limits: OpenAI's API reference (batch)."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from serving.protocol.parts import Body, FileId, Metadata, Refused

BatchEndpoint = Literal["/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings"]

ENDPOINTS: tuple[BatchEndpoint, ...] = get_args(BatchEndpoint)


class BatchRequest(Body):
    """`POST /v1/batches`."""

    input_file_id: FileId
    endpoint: BatchEndpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: Annotated[None, Refused("Files have no expiry of their own: delete them.")] = None
