"""Messages of JSON-RPC 2.0, as the Model Context Protocol sends them: one in each request."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from serving.protocol.parts import Body

Id = int | Annotated[str, Field(max_length=256)]


class McpMessage(Body):
    """`POST /mcp`: a request with its `id`, or a notification without one."""

    jsonrpc: Literal["2.0"]
    id: Id | None = Field(default=None, description="of a request, which is repeated in its answer")
    method: str = Field(min_length=1, max_length=128, description="of the Model Context Protocol")
    params: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if self.id is None and "id" in self.model_fields_set:
            raise ValueError("the id of a request is a string or a whole number; a notification has none")
        return self
