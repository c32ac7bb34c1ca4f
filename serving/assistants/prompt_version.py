"""The version of an assistant's prompt, which captures store, so that ratings of different prompts can be compared."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from serving.assistants import prompt, spotlight
from serving.assistants.memory import facts, summary
from serving.assistants.strategies import templates
from serving.config import Assistant

_SETTINGS = {
    *("prompt", "knowledge", "top_k", "context_tokens"),
    *("memory", "strategy", "tools", "spotlight", "unsupported"),
}
_TEXTS = (
    *(template.text for template in (templates.COT, templates.PAL, templates.REACT)),
    *(
        prompt.QUESTION,
        prompt.REQUEST,
        facts.TASK,
        facts.NOTE,
        summary.TASK,
        summary.NOTE,
        spotlight.DELIMIT,
        spotlight.DATAMARK,
    ),
)
"""Texts that Headrace itself adds to prompts, which may differ between releases."""


@lru_cache(maxsize=1024)
def version(assistant: Assistant) -> str:
    """Returns a digest of everything in a prompt except the request: 16 hexadecimal digits."""
    parts = "\0".join((assistant.model_dump_json(include=_SETTINGS), *_TEXTS))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
