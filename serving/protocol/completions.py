"""Text completions in OpenAI's format."""

from __future__ import annotations

from typing import Any


def legacy_logprobs(document: dict[str, Any]) -> None:
    """Converts log probabilities in the chat format, which llama.cpp also uses here, to the completions
    API's format.
    """
    for choice in document.get("choices", ()):
        content = (choice.get("logprobs") or {}).get("content")
        if not isinstance(content, list):
            continue
        offset, offsets = 0, []
        for token in content:
            offsets.append(offset)
            offset += len(token["token"])
        choice["logprobs"] = {
            "tokens": [t["token"] for t in content],
            "token_logprobs": [t["logprob"] for t in content],
            "top_logprobs": [{a["token"]: a["logprob"] for a in t.get("top_logprobs", ())} for t in content],
            "text_offset": offsets,
        }
