"""Samples of the OpenAI Agents SDK and of LlamaIndex, run by the environment `clients`: a line of JSON for each.

Those that the packages document in themselves run as they stand there. Where a package's own text has none, the calls
are those of the page that is named. Base URL, key and default model come from the environment.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from typing import Any

from agents import Agent, OpenAIChatCompletionsModel, Runner, SQLiteSession, function_tool
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent

URL, KEY, MODEL = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"], os.environ["OPENAI_DEFAULT_MODEL"]


def documented(package: str) -> list[str]:
    """Returns the Python of a package's own description, without what would set a wrong key."""
    text = metadata.metadata(package).get_payload()  # ty: ignore[missing-attribute]
    blocks = re.findall(r"```python\n(.*?)```", str(text), re.DOTALL)
    return [block for block in blocks if "sk-..." not in block and "BAD_KEY" not in block]


async def run(source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Runs a sample, which may await, and returns its names."""
    made = eval(compile(source, "sample", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.iscoroutine(made):
        await made
    return names


@function_tool
def get_weather(city: str) -> str:
    """Returns the weather of a city."""
    return f"Rain in {city}, 9 degrees."


def agents_readme() -> None:
    """The first sample of the package: it is run without a loop, since it starts one."""
    names: dict[str, Any] = {}
    exec(documented("openai-agents")[0], names)
    assert names["result"].final_output.startswith("You asked Write a haiku"), names["result"].final_output


async def agents_with_tools() -> None:
    """docs/tools.md, by both APIs."""
    chat = OpenAIChatCompletionsModel(model=MODEL, openai_client=AsyncOpenAI())
    for model in (MODEL, chat):
        agent = Agent(name="Forecaster", instructions="Be brief.", tools=[get_weather], model=model)
        result = await Runner.run(agent, "What is the weather?")
        assert result.final_output == "It returned Rain in Orrin, 9 degrees.", result.final_output
        again = [*result.to_input_list(), {"role": "user", "content": "And the weather tomorrow?"}]
        assert (await Runner.run(agent, again)).final_output.startswith("It returned Rain"), model


async def agents_with_handoffs() -> None:
    """docs/handoffs.md"""
    tutors = [
        Agent(name=f"{of} Tutor", handoff_description=f"Knows {of}", instructions="Teach.") for of in ("Math", "Art")
    ]
    triage = Agent(name="Triage", instructions="Choose a tutor.", handoffs=tutors)
    result = await Runner.run(triage, "I have a question about art.")
    assert result.last_agent.name == "Art Tutor", result.last_agent.name


async def agents_as_a_stream() -> None:
    """docs/streaming.md"""
    agent = Agent(name="Forecaster", instructions="Be brief.", tools=[get_weather])
    result = Runner.run_streamed(agent, input="What is the weather?")
    said = ""
    async for event in result.stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            said += event.data.delta
    assert said == result.final_output == "It returned Rain in Orrin, 9 degrees.", said


async def agents_with_sessions() -> None:
    """docs/sessions/index.md, and the server's own memory of docs/running_agents.md."""
    agent = Agent(name="Assistant", instructions="Be brief.")
    session = SQLiteSession("one")
    first = await Runner.run(agent, "My name is Ada.", session=session)
    second = await Runner.run(agent, "What is my name?", session=session)
    assert second.final_output == "You asked My name is Ada. and What is my name?", second.final_output
    third = await Runner.run(agent, "And now?", previous_response_id=first.last_response_id)
    assert third.final_output == "You asked My name is Ada. and And now?", third.final_output
    conversation = await AsyncOpenAI().conversations.create()
    for _ in range(2):
        last = await Runner.run(agent, "Hello.", conversation_id=conversation.id)
    assert last.final_output == "You asked Hello. and Hello.", last.final_output


async def llama_index_readme() -> None:
    """All samples of the package of OpenAI's models, in their order."""
    names: dict[str, Any] = {}
    blocks = documented("llama-index-llms-openai")
    assert len(blocks) > 3
    for block in blocks:
        await run(block, names)
    assert "Paul Graham is" in str(names["resp"]), names["resp"]


async def llama_index_query() -> None:
    """The starter example of the framework, with models that are like OpenAI's."""
    llm = OpenAILike(model=MODEL, api_base=URL, api_key=KEY, context_window=8192, is_chat_model=True)
    embedder = OpenAIEmbedding(model_name="all-minilm-l6-v2", api_base=URL, api_key=KEY)
    texts = ["The bakery of Brenna bakes rye bread on Mondays.", "The ferry of Orrin leaves at seven."]
    documents = [Document(text=text) for text in texts]
    index = VectorStoreIndex.from_documents(documents, embed_model=embedder)
    engine = index.as_query_engine(llm=llm, similarity_top_k=1)
    response = engine.query("When is rye bread baked?")
    assert "rye bread on Mondays" in str(response), response
    assert [node.text for node in response.source_nodes] == texts[:1]
    streamed = index.as_query_engine(llm=llm, similarity_top_k=1, streaming=True).query("When does the ferry leave?")
    assert "ferry of Orrin" in "".join(streamed.response_gen)


async def llama_index_agent() -> None:
    """The starter example of agents: a function that the model calls."""

    def weather(city: str) -> str:
        """Returns the weather of a city."""
        return f"Rain in {city}."

    llm = OpenAILike(model=MODEL, api_base=URL, api_key=KEY, is_chat_model=True, is_function_calling_model=True)
    agent = FunctionAgent(tools=[weather], llm=llm, system_prompt="Be brief.")
    assert str(await agent.run("What is the weather?")) == "It returned Rain in Orrin."


async def llama_index_fails_with_the_right_error() -> None:
    """A wrong key is OpenAI's own error."""
    import openai

    try:
        OpenAI(api_key="sk-wrong", max_retries=0).complete("x")
    except openai.AuthenticationError:
        return
    raise AssertionError("the key was taken")


SAMPLES: tuple[Callable[[], Any], ...] = (
    agents_readme,
    agents_with_tools,
    agents_with_handoffs,
    agents_as_a_stream,
    agents_with_sessions,
    llama_index_readme,
    llama_index_query,
    llama_index_agent,
    llama_index_fails_with_the_right_error,
)


def main() -> None:
    """Runs all samples; what they print goes to stderr."""
    told, sys.stdout = sys.stdout, sys.stderr
    for sample in SAMPLES:
        failure = None
        try:
            made = sample()
            if inspect.iscoroutine(made):
                asyncio.run(made)
        except Exception:
            failure = traceback.format_exc()
        print(json.dumps({"name": sample.__name__, "failure": failure}), file=told, flush=True)  # ty: ignore[missing-attribute]


if __name__ == "__main__":
    main()
