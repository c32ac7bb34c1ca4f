"""What engines are told of whose their prompt caches are, and what callers are told of what was found there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from serving.config import (
    Assistant,
    Catalog,
    ChainOfThought,
    ClassifierGuardrail,
    KServeModel,
    PromptCache,
    RemoteModel,
    VllmModel,
)
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, engine, gateway

CACHED = 987_654
USAGE = {
    "prompt_tokens": 1_000_000,
    "completion_tokens": 1,
    "total_tokens": 1_000_001,
    "prompt_tokens_details": {"cached_tokens": CACHED},
    "prompt_cache_hit_tokens": CACHED,
}


class Engine:
    """Keeps what it was asked, and says that it had read much of it before, in several engines' words."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        chat = request.path.endswith("/chat/completions")
        said = {"delta" if body.get("stream") else "message": {"role": "assistant", "content": "safe"}}
        choice = {"index": 0, "finish_reason": "stop"} | (said if chat else {"text": "safe"})
        document = {"choices": [choice], "usage": USAGE, "timings": {"cache_n": CACHED}}
        if not body.get("stream"):
            return web.json_response(document)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        token = {**choice, "finish_reason": None}
        for frame in (
            {"choices": [token]},
            {"choices": [token], "usage": USAGE},
            document,
            {"choices": [], "usage": USAGE},
        ):
            await response.write(b"data: " + json.dumps({**document, "usage": None, **frame}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


class Lease:
    def __init__(self, url: str) -> None:
        self._url = url
        self.lease = self

    def options(self, *, stream: bool) -> Lease:
        assert stream
        return self

    def remote(self, owner: str, user: str) -> Lease:
        assert owner
        assert user
        return self

    async def __anext__(self) -> dict[str, Any]:
        return {"url": self._url, "key": "k"}

    def cancel(self) -> None:
        return


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture
def asked(loop: Loop) -> Iterator[tuple[Engine, str]]:
    scripted, app = Engine(), web.Application()
    for path in ("/v1/chat/completions", "/v1/completions", "/openai/v1/chat/completions"):
        app.router.add_post(path, scripted.answer)
    with engine(loop, app) as port:
        yield scripted, f"http://127.0.0.1:{port}"


def catalog(url: str) -> Catalog:
    kserve = {"url": url, "storage": "hf://a/b"}
    judged = ClassifierGuardrail(model="ours", api="chat")
    return Catalog(
        models=(
            VllmModel(name="ours", source="hf://a/b"),
            RemoteModel(name="shared", url=f"{url}/v1"),
            RemoteModel(name="own", url=f"{url}/v1", prompt_cache="own"),
            RemoteModel(name="salted", url=f"{url}/v1", prompt_cache="salted"),
            RemoteModel(name="off", url=f"{url}/v1", prompt_cache="off"),
            KServeModel(name="kserve-vllm", runtime="vllm", **kserve),
            KServeModel(name="kserve-llamacpp", runtime="llamacpp", file="m.gguf", **kserve),
            KServeModel(name="kserve-other", runtime="huggingface", **kserve),
        ),
        assistants=(
            Assistant(name="thinker", model="ours", strategy=ChainOfThought()),
            Assistant(name="watched", model="ours", guardrails=(judged,)),
        ),
    )


def serving(loop: Loop, folder: Path, url: str, prompt_cache: PromptCache, *, drops: bool = False) -> Any:
    def lease(name: str) -> Lease:
        return Lease(f"{url}/v1")

    return gateway(
        loop, folder, catalog(url), handle_of=lease, prompt_cache=prompt_cache, drop_unsupported_params=drops
    )


def asking(up: Gateway, tenant: str, user: str) -> httpx.Client:
    key = up.loop.do(key_of(up.services, Principal(tenant, user, "test")))
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"{up.url}/v1", headers=headers, timeout=60, trust_env=False)


def said(http: httpx.Client, model: str, path: str = "/chat/completions", **more: object) -> str:
    question: dict[str, object] = {"messages": [{"role": "user", "content": "hi"}]}
    if path != "/chat/completions":
        question = {"prompt": "hi"} if path == "/completions" else {"input": "hi", "store": False}
    return http.post(path, json={"model": model, **question, **more}).raise_for_status().text


STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def test_each_request_to_vllm_carries_its_tenants_salt(loop: Loop, asked: tuple[Engine, str], tmp_path: Path) -> None:
    scripted, url = asked
    salts = []
    with serving(loop, tmp_path, url, "tenant") as up:
        for tenant, user in (("acme", "ann"), ("acme", "ben"), ("evil", "eve")):
            with asking(up, tenant, user) as http:
                for model in ("ours", "thinker", "watched", "salted", "kserve-vllm"):
                    said(http, model)
                said(http, "ours", **STREAM)
                said(http, "ours", "/completions")
                said(http, "ours", "/completions", **STREAM)
                said(http, "ours", "/responses")
            salts.append({body.get("cache_salt") for body in scripted.asked})
            assert len(scripted.asked) > 9  # the judge's too
            scripted.asked.clear()
    ann, ben, eve = salts
    assert ann == ben
    assert ann.isdisjoint(eve)
    assert all(len(each) == 1 and len(str(*each)) == 32 for each in salts)


UNKNOWN = (
    "api_base",
    "base_url",
    "cache_prompt",
    "cache_salt",
    "chat_template",
    "chat_template_kwargs",
    "extra_body",
    "id_slot",
    "kv_transfer_params",
    "mm_processor_kwargs",
    "prompt_cache_key",
    "prompt_embeds",
)
"""Fields that engines, or gateways like this one, take of a request."""


@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/responses"])
def test_unknown_fields_do_not_reach_engines(loop: Loop, asked: tuple[Engine, str], tmp_path: Path, path: str) -> None:
    scripted, url = asked
    planted: dict[str, object] = {name: {"planted": True} for name in UNKNOWN}
    with serving(loop, tmp_path, url, "tenant", drops=True) as up, asking(up, "evil", "eve") as http:
        question: dict[str, object] = {"messages": [{"role": "user", "content": "hi"}]}
        if path != "/chat/completions":
            question = {"prompt": "hi"} if path == "/completions" else {"input": "hi", "store": False}
        for beside in (planted, dict.fromkeys(UNKNOWN, "planted")):
            http.post(path, json={"model": "ours", **question, **beside})
        http.post(path, json={"model": "ours", **question}).raise_for_status()
    assert scripted.asked
    assert "planted" not in json.dumps(scripted.asked)


TOLD: list[tuple[PromptCache, str, bool]] = [
    ("tenant", "ours", False),
    ("user", "ours", True),
    ("off", "ours", True),
    ("user", "shared", False),
    ("tenant", "own", True),
    ("tenant", "salted", False),
    ("user", "salted", True),
    ("user", "off", False),
    ("user", "kserve-vllm", True),
    ("user", "kserve-llamacpp", False),
    ("user", "kserve-other", False),
]


@pytest.mark.parametrize("prompt_cache", ["tenant", "user", "off"])
def test_cached_token_counts_are_reported_for_private_caches_only(
    loop: Loop, asked: tuple[Engine, str], tmp_path: Path, prompt_cache: PromptCache
) -> None:
    _, url = asked
    with serving(loop, tmp_path, url, prompt_cache) as up, asking(up, "acme", "ann") as http:
        for by, model, told in TOLD:
            if by != prompt_cache:
                continue
            answers = [said(http, model), said(http, model, **STREAM), said(http, model, "/responses")]
            answers += [said(http, model, "/responses", stream=True)]
            if not model.startswith("kserve"):
                answers += [said(http, model, "/completions"), said(http, model, "/completions", **STREAM)]
            assert [str(CACHED) in answer for answer in answers] == [told] * len(answers), (model, answers)


def test_shared_llamacpp_engines_reuse_no_cache(loop: Loop, asked: tuple[Engine, str], tmp_path: Path) -> None:
    scripted, url = asked
    with serving(loop, tmp_path, url, "tenant") as up, asking(up, "acme", "ann") as http:
        for model in ("off", "kserve-llamacpp"):
            said(http, model)
    assert [body["cache_prompt"] for body in scripted.asked] == [False, False]
