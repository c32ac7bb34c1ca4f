"""What an application developer does with LangChain's `ChatOpenAI` and `OpenAIEmbeddings`."""

from __future__ import annotations

import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

# The smallest of models calls no tools, whatever is asked: `ticker` (tests/stacks/ticker.py) does for tests of calls.
# The sampler is greedy: what a test compares does not depend on chance.
OPTIONS = {"model": "smollm2", "temperature": 0, "max_retries": 0, "timeout": 120}

# LangChain keeps one client of each address for all its models, and a client stays with its loop.
in_one_loop = pytest.mark.asyncio(loop_scope="module")


class Capital(BaseModel):
    """The capital of a country."""

    city: str


@tool
def get_weather(city: str) -> str:
    """Returns the weather of a city."""
    return f"Rain in {city}, 9 degrees."


@pytest.fixture(autouse=True)
def _no_tables_from_the_internet(monkeypatch):
    """Fails what would fetch OpenAI's tables of tokens, which are of no use for other models."""

    def fetch(blobpath):
        raise AssertionError(f"tiktoken asks for {blobpath}")

    monkeypatch.setattr("tiktoken.load.read_file", fetch)


@pytest.fixture(scope="module")
def place(whole):
    return {"base_url": f"{whole.url}/v1", "api_key": whole.key}


@pytest.fixture(scope="module")
def llm(place):
    return ChatOpenAI(**place, **OPTIONS, max_tokens=16)


@pytest.fixture(scope="module")
def sdk(place):
    with openai.OpenAI(**place, max_retries=0) as client:
        yield client


def test_langchain_answers_a_question(llm):
    answer = llm.invoke([("system", "Be brief."), ("user", "Name a heron.")])
    assert answer.text
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    assert 0 < answer.usage_metadata["output_tokens"] <= 16


@in_one_loop
async def test_a_stream_makes_up_what_invoke_returns(llm):
    question = "Count to five."
    whole = llm.invoke(question).text
    chunks = list(llm.stream(question, stream_usage=True))
    assert len(chunks) > 2
    assert "".join(c.text for c in chunks) == whole
    assert sum((c.usage_metadata or {}).get("output_tokens", 0) for c in chunks) > 0
    assert "".join([c.text async for c in llm.astream(question)]) == whole


@in_one_loop
async def test_langchain_answers_a_batch(llm):
    questions = ["Name a heron.", "Count to five.", "What is a lock?"]
    answers = llm.batch(questions) + await llm.abatch(questions)
    assert all(answer.text for answer in answers)
    assert len({answer.response_metadata["id"] for answer in answers}) == 6


@pytest.mark.parametrize("responses", [False, True])
def test_langchain_parses_structured_output(place, responses):
    llm = ChatOpenAI(**place, **OPTIONS, max_tokens=64, use_responses_api=responses)
    answer = llm.with_structured_output(Capital, method="json_schema").invoke("The capital of France, as JSON.")
    assert isinstance(answer, Capital)
    assert answer.city


@pytest.mark.parametrize("responses", [False, True])
def test_a_tool_is_called_and_its_result_is_returned(place, responses):
    llm = ChatOpenAI(**place, **{**OPTIONS, "model": "ticker"}, use_responses_api=responses)
    question = HumanMessage("What is the weather in Orrin?")
    asked = llm.bind_tools([get_weather], tool_choice="any").invoke([question])
    [call] = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Orrin"})
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert llm.bind_tools([get_weather], tool_choice="none").invoke([question, asked, result]).text


def test_a_streamed_call_is_put_together(place):
    llm = ChatOpenAI(**place, **{**OPTIONS, "model": "ticker"})
    parts = iter(llm.bind_tools([get_weather], tool_choice="any").stream("What is the weather in Orrin?"))
    whole = next(parts)
    for part in parts:
        whole += part
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("get_weather", {"city": "Orrin"})]


@pytest.mark.parametrize("stream", [False, True])
def test_responses_continue_the_previous_response(place, sdk, stream):
    """The client sends what is new alone; the API knows the rest."""
    llm = ChatOpenAI(**place, **OPTIONS, max_tokens=16, use_responses_api=True, use_previous_response_id=True)
    said = [HumanMessage("My name is Ada."), llm.invoke("My name is Ada."), HumanMessage("What is my name?")]
    assert said[1].response_metadata["id"].startswith("resp_")
    if stream:
        parts = iter(llm.stream(said))
        answer = next(parts)
        for part in parts:
            answer += part
    else:
        answer = llm.invoke(said)
    assert answer.text
    kept = sdk.responses.retrieve(answer.response_metadata["id"])
    assert kept.previous_response_id == said[1].response_metadata["id"]
    assert kept.output_text == answer.text
    assert [i.content[0].text for i in sdk.responses.input_items.list(kept.id)] == ["What is my name?"]


def test_a_conversation_continues(llm, sdk):
    id = sdk.conversations.create().id
    for text in ("My name is Ada.", "What is my name?"):
        assert llm.invoke(text, extra_body={"conversation": id}).text
    roles = [item.role for item in sdk.conversations.items.list(id, order="asc")]
    assert roles == ["user", "assistant"] * 2
    sdk.conversations.delete(id)


def test_errors_are_those_of_the_sdk(llm, place):
    with pytest.raises(openai.NotFoundError):
        llm.invoke("x", model="nope")
    with pytest.raises(openai.BadRequestError) as caught:
        llm.invoke("x", temperature=3)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        ChatOpenAI(**{**place, "api_key": "sk-wrong"}, **OPTIONS).invoke("x")


@in_one_loop
async def test_langchain_computes_embeddings(place):
    # The check counts tokens as OpenAI's own models do, and sends numbers instead of text.
    embedder = OpenAIEmbeddings(
        **place, model="all-minilm-l6-v2", check_embedding_ctx_length=False, max_retries=0, timeout=60
    )
    texts = ["a cat", "a bridge"]
    vectors = embedder.embed_documents(texts)
    assert [len(v) for v in vectors] == [384, 384]
    assert embedder.embed_query("a cat") == pytest.approx(vectors[0], abs=1e-5)
    assert (await embedder.aembed_documents(texts))[1] == pytest.approx(vectors[1], abs=1e-5)
    assert len(embedder.embed_documents([f"bird {number}" for number in range(300)])) == 300
