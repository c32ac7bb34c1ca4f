"""Where the Model Context Protocol is spoken, and how its errors look."""

from __future__ import annotations

from serving.api.http_exchange import HttpExchange
from serving.protocol.mcp import errors

MCP = "/mcp"


def shape(x: HttpExchange) -> None:
    """Gives an exchange JSON-RPC's form of errors."""
    x.error_body = errors.body
