"""The error of MCP sessions; separate from the SDK, which takes seconds to import."""

from __future__ import annotations


class McpFailure(Exception):
    """A request to a server failed; `sent` tells whether it may have had an effect."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
