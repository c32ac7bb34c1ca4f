"""Nobody learns by guessing what another asked: what an engine keeps of prompts is parted, and its counts are told to
nobody but whose they are.

A real llama.cpp answers. Rivals send what the victim may have asked, and look for the request of which more stood in a
cache than of the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import cycle

import httpx
import orjson
import pytest

from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.routes.whole import client, serving
from tests.contract.running import Gateway
from tests.servers.identity_provider import IdentityProvider

SECRET = "My patient Brenna Vale, born on the third of May, takes forty units of insulin each evening"
GUESSES = (
    SECRET,
    SECRET.replace("insulin", "heparin"),
    SECRET.replace("third of May", "tenth of June"),
    SECRET.replace("Brenna Vale", "Ann Smith"),
)
RIVALS = 8
"""More than llama.cpp has slots, so that each slot passes from one to another."""


@pytest.fixture(scope="module")
def by_user(tmp_path_factory: pytest.TempPathFactory, identity_provider: IdentityProvider) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("by_user"), identity_provider.url, prompt_cache="user") as up:
        yield up


def asking(up: Gateway, tenant: str, user: str) -> httpx.Client:
    http = client(up)
    key = up.loop.do(key_of(up.services, Principal(tenant, user, "test")))
    http.headers["authorization"] = f"Bearer {key}"
    return http


def chat(http: httpx.Client, text: str, **more: object) -> int | None:
    """Returns how many tokens of a chat's prompt the caller is told to have been in a cache, None for not told."""
    body = {"model": "smollm2", "messages": [{"role": "user", "content": text}], "max_tokens": 2} | more
    usage = http.post("/v1/chat/completions", json=body).raise_for_status().json()["usage"]
    details = usage.get("prompt_tokens_details") or {}
    count: int | None = details.get("cached_tokens")
    return count


@pytest.mark.parametrize("samples", [1, 2])
def test_a_right_guess_looks_like_a_wrong_one(by_user: Gateway, samples: int) -> None:
    """Of another tenant's prompt, and of a colleague's."""
    with asking(by_user, "clinic", "victim") as victim:
        chat(victim, SECRET, n=samples)
        again = chat(victim, SECRET)
    told = []
    for number, guess in zip(range(RIVALS), cycle(GUESSES), strict=False):
        tenant = "clinic" if number % 2 else f"rival{samples}"
        with asking(by_user, tenant, f"rival{samples}-{number}") as rival:
            told.append(chat(rival, guess))
            chat(rival, SECRET)  # its own now: it leaves a trace for the next rival, who must not find it
    assert len(set(told)) == 1, told
    assert again is not None, "the victim is told of its own cache"
    assert again > (told[0] or 0) + 20, "which is used"


def test_parallel_choices_do_not_evict_other_callers_slots(by_user: Gateway) -> None:
    """llama.cpp would put each of several choices into a slot of its own choosing, whoever has it."""
    with contextlib.ExitStack() as open_:
        others = [open_.enter_context(asking(by_user, f"tenant{number}", "other")) for number in range(3)]
        texts = [f"{number} {GUESSES[number]}" for number in range(3)]
        for other, text in zip(others, texts, strict=True):
            chat(other, text)
        with asking(by_user, "clinic", "choosy") as choosy:
            chat(choosy, SECRET, n=4)
        again = [chat(other, text) or 0 for other, text in zip(others, texts, strict=True)]
    assert min(again) > 20, again


def test_shared_cache_hits_are_not_reported(whole: Gateway) -> None:
    """By default colleagues share a cache: its counts would tell each what the others asked."""
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    with asking(whole, "clinic", "colleague") as http:
        said = []
        for more in ({}, stream):
            chatting = {"model": "smollm2", "messages": [{"role": "user", "content": SECRET}], "max_tokens": 2}
            continuing = {"model": "smollm2", "prompt": SECRET, "max_tokens": 2}
            for path, body in (("chat/completions", chatting), ("completions", continuing)):
                for _ in range(2):
                    said.append(http.post(f"/v1/{path}", json=body | more).raise_for_status().text)
        for streamed in (False, True, True):
            body = {"model": "smollm2", "input": SECRET, "max_output_tokens": 16, "stream": streamed, "store": False}
            said.append(http.post("/v1/responses", json=body).raise_for_status().text)
    documents = [
        orjson.loads(line.removeprefix("data: ")) for text in said for line in text.splitlines() if is_json(line)
    ]
    counts = list(found(documents, "cached_tokens"))
    assert list(found(documents, "prompt_tokens"))
    assert not any(counts), counts


def is_json(line: str) -> bool:
    return line.removeprefix("data: ").startswith("{")


def found(document: object, name: str) -> Iterator[object]:
    """Yields each value of that name, however deep."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == name:
                yield value
            yield from found(value, name)
    elif isinstance(document, list):
        for each in document:
            yield from found(each, name)
