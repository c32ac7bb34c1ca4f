"""Takes the program out of a model's output."""

from __future__ import annotations

import re

_FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def code_in(output: str) -> str | None:
    """Returns the last fenced block, which may lack its end; None when there is none."""
    blocks: list[str] = _FENCE.findall(output)
    return next((block for block in reversed(blocks) if block.strip()), None)
