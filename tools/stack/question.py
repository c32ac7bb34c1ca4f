"""The first question to a stack's assistant, whose answer is streamed with its citations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tools.report import ToolError

ASSISTANT = "docs"
QUESTION = "Where is the data of the stack?"


@dataclass
class Answer:
    """The part of an answer that has arrived."""

    text: str = ""
    citations: list[dict[str, Any]] = field(default_factory=list)


def ask(url: str, key: str, question: str, show: Callable[[str], None]) -> Answer | None:
    """Passes the answer's text to `show` as it arrives, and returns the whole answer with its citations.

    Returns None when the stack has no assistant called `docs`. Raises `ToolError` when the stack does not answer.
    """
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": ASSISTANT, "stream": True, "messages": [{"role": "user", "content": question}]}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=180, trust_env=False) as client:
            models = client.get("/v1/models").raise_for_status().json()["data"]
            if ASSISTANT not in {m["id"] for m in models}:
                return None
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                return _collect(_frames(response), show)
    except httpx.HTTPError as e:
        raise ToolError(f"the first question got no answer: {e}") from None


def _frames(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    raise ToolError("the answer to the first question was cut short; see the logs below .headrace")


def _collect(frames: Iterator[dict[str, Any]], show: Callable[[str], None]) -> Answer:
    answer = Answer()
    for frame in frames:
        if "error" in frame:
            raise ToolError(f"the first question failed: {frame['error'].get('message')}")
        for choice in frame.get("choices", []):
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                answer.text += text
                show(text)
            for holder in (frame, choice, delta):
                answer.citations += (holder.get("headrace") or {}).get("citations", [])
    return answer
