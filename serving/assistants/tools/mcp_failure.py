"""What goes wrong with an MCP server; apart from the SDK, which takes seconds to import."""

from __future__ import annotations


class McpFailure(Exception):
    """A server did not do what it was asked; `sent` says whether it may have done it all the same."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
