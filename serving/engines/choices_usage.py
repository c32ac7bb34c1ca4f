"""Usage of all choices of an answer, since some engines report only that of one choice.

OpenAI and vLLM report the sum. llama.cpp reports the usage of the first choice for a complete answer, and for a stream
the usage of each choice, including its prompt's tokens each time (seen with xllamacpp 2026.10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import Endpoint
from serving.engines.reported_usage import counts_of
from serving.protocol.errors import ApiError

_SAID = ("content", "reasoning_content", "reasoning", "refusal", "text")

Usage = dict[str, Any]


def prompts_of(document: dict[str, Any]) -> int:
    """Returns the number of prompts in an engine's request, each of which is answered `n` times."""
    prompt = document.get("prompt")
    return len(prompt) if isinstance(prompt, list) else 1


def answers_of(document: dict[str, Any]) -> int:
    """Returns the number of choices in the answer to an engine's request."""
    return prompts_of(document) * (document.get("n") or 1)


async def usage_of_answer(
    client: EngineClient, endpoint: Endpoint, document: dict[str, Any], choices: Sequence[Any], usage: Usage
) -> Usage:
    """Returns the usage of a complete answer for which an engine reports `usage`."""
    counts = counts_of(usage)
    if counts is None or len(choices) < 2 or not all(isinstance(each, dict) for each in choices):
        return usage
    if endpoint.tokenizer != "llamacpp":
        return at_least(usage, document, choices)
    read, written = counts
    most = document.get("max_tokens")
    texts = []
    for choice in choices[1:]:
        if most is not None and choice.get("finish_reason") == "length":
            written += most
        else:
            texts.append(_text(choice))
    written += await _count(client, endpoint, texts, most)
    prompts = document.get("prompt")
    if isinstance(prompts, list):
        read += await _count(client, endpoint, prompts[1:], None)
    return _sum(usage, read, written)


def usage_of_reports(
    reports: Sequence[Usage], document: dict[str, Any], choices: Sequence[Any], *, whole: bool
) -> Usage:
    """Returns the usage of several choices, for which an engine sent `reports`.

    If the stream is not `whole`, the usage is unknown: other choices may have been written too.
    """
    counts = [counts_of(each) for each in reports]
    if not whole or not reports or None in counts:
        return {}
    if len(reports) == 1:
        return at_least(reports[0], document, choices)
    of_each = document.get("n") or 1
    read = sum(each[0] for each in counts if each is not None) // of_each
    written = sum(each[1] for each in counts if each is not None)
    return _sum(reports[-1], read, written)


def at_least(usage: Usage, document: dict[str, Any], choices: Sequence[Any]) -> Usage:
    """Returns a usage of at least `max_tokens` for each choice that reached it: a lower report is that of
    one choice.
    """
    counts, most = counts_of(usage), document.get("max_tokens")
    if counts is None or most is None or len(choices) < 2:
        return usage
    read, written = counts
    long = sum(most for each in choices if isinstance(each, dict) and each.get("finish_reason") == "length")
    return usage if long <= written else _sum(usage, read, long)


def _sum(usage: Usage, read: int, written: int) -> Usage:
    return {**usage, "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _text(choice: dict[str, Any]) -> str:
    message = choice.get("message")
    holder = message if isinstance(message, dict) else choice
    said = [text for name in _SAID if isinstance(text := holder.get(name), str)]
    calls = holder.get("tool_calls")
    return "".join(said) + (orjson.dumps(calls).decode() if calls else "")


async def _count(client: EngineClient, endpoint: Endpoint, texts: Sequence[str], most: int | None) -> int:
    """Returns the number of tokens of texts, each with its end token; without a tokenizer, the number of bytes."""
    if not texts:
        return 0
    there = replace(endpoint, url=endpoint.url.removesuffix("/v1"))
    try:
        # A newline stands for each text's end token, so that one request suffices.
        async with client.post(there, "/tokenize", {"content": "".join(f"{text}\n" for text in texts)}) as response:
            tokens = (await read_answer(response, there)).get("tokens")
        if isinstance(tokens, list):
            return len(tokens)
    except ApiError:
        pass
    bounds = [len(text.encode(errors="replace")) + 1 for text in texts]
    return sum(bound if most is None else min(bound, most) for bound in bounds)
