"""Converts the result of an MCP tool to text for a model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from serving.assistants.tools.json_schema import clean

if TYPE_CHECKING:
    import mcp_types

_CONTROLS = dict.fromkeys((*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0)))


def result_text(result: mcp_types.CallToolResult) -> tuple[bool, str]:
    """Returns whether a tool reports an error, and its text."""
    parts = list(filter(None, map(_part, result.content)))
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return bool(result.is_error), "\n".join(parts).translate(_CONTROLS)


def _part(content: mcp_types.ContentBlock) -> str:
    """Returns text unchanged, and a description of anything else."""
    match content.type:
        case "text":
            return content.text
        case "image" | "audio":
            return f"[{content.type}: {_kind(content.mime_type)}, {_bytes(content.data)}]"
        case "resource_link":
            return f"[resource: {_clean_text(content.uri)}, {_kind(content.mime_type)}]"
    resource = content.resource
    blob = getattr(resource, "blob", None)
    if blob is None:
        return str(getattr(resource, "text", ""))
    return f"[resource: {_clean_text(resource.uri)}, {_kind(resource.mime_type)}, {_bytes(blob)}]"


def _kind(mime_type: str | None) -> str:
    return _clean_text(mime_type or "of unknown kind")


def _bytes(encoded: str) -> str:
    return f"{len(encoded) * 3 // 4 - encoded[-2:].count('=')} bytes"


def _clean_text(text: str) -> str:
    return clean(text, 200)
