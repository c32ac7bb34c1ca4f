"""Several choices of a replica of llama.cpp, which is asked for one after the other: they read as one answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.contract.routes.whole import client
from tests.contract.running import Gateway

ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Name a river."}]},
    "/v1/completions": {"prompt": ["The river", "Once upon a time"]},
}
PARAMETERS = {"model": "smollm2", "max_tokens": 8, "temperature": 1}


def ask(up: Gateway, path: str, **more: object) -> tuple[dict[int, str], dict[str, int]]:
    """Returns the text of each choice, and the usage."""
    body = ASKED[path] | PARAMETERS | more
    if body.get("stream"):
        body |= {"stream_options": {"include_usage": True}}
    with client(up) as http:
        said = http.post(path, json=body).raise_for_status()
    if not body.get("stream"):
        answer = said.json()
        texts = {c["index"]: c["message"]["content"] if "message" in c else c["text"] for c in answer["choices"]}
        assert [c["index"] for c in answer["choices"]] == sorted(texts)
        return texts, answer["usage"]
    *frames, end = [line.removeprefix("data: ") for line in said.text.splitlines() if line.startswith("data: ")]
    assert end == "[DONE]"
    streamed: dict[int, str] = {}
    documents = [orjson.loads(frame) for frame in frames]
    for choice in (choice for document in documents for choice in document["choices"]):
        text = choice["delta"].get("content") if "delta" in choice else choice["text"]
        streamed[choice["index"]] = streamed.get(choice["index"], "") + (text or "")
    return streamed, documents[-1]["usage"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", ASKED, ids=["chat", "completions"])
def test_choices_are_those_of_the_seeds_that_follow(whole: Gateway, path: str, stream: bool) -> None:
    ask(whole, path, seed=7)  # llama.cpp reads a prompt in other batches when it is in the cache, and rounds otherwise
    alone = [ask(whole, path, seed=seed) for seed in (7, 8, 9)]
    together, usage = ask(whole, path, seed=7, n=3, stream=stream)
    prompts = len(alone[0][0])
    assert together == {p * 3 + i: alone[i][0][p] for p in range(prompts) for i in range(3)}
    given = ASKED[path].get("prompt", [None])
    read = sum(ask(whole, path, **({"prompt": p} if p else {}))[1]["prompt_tokens"] for p in given)
    assert read <= usage["prompt_tokens"] < read + len(given)  # of prompts but the first, our own count is one above
    assert usage["completion_tokens"] == sum(each["completion_tokens"] for _, each in alone)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
