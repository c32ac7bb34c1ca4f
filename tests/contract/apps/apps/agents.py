"""Apps of the tests: functions, a runnable and graphs."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Annotated, TypedDict

from headrace_apps import platform
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt

llm = platform.model("m")


def echo(messages):
    return f"heard {len(messages)}: {messages[-1]['content']}"


async def pieces(messages):
    platform.step("thinking", name="plan")
    for word in ("one ", "two ", "three"):
        yield word


def fails(messages):
    raise ValueError("a secret of the app's")


def snoops(messages):
    """What the process can see of the platform."""
    found = [name for name in os.environ if "KEY" in name or "HEADRACE" in name or "SECRET" in name]
    for path in messages[-1]["content"].split():
        try:
            Path(path).read_bytes()
            found.append(path)
        except OSError as e:
            found.append(type(e).__name__)
    return " ".join(found) or "nothing"


def looks(messages):
    """Asks the platform for what is another's, by the path that the message names."""
    try:
        return str(platform.current().ask("GET", messages[-1]["content"]))
    except platform.PlatformError as e:
        return f"{e.status_code} {e.code}"


def itself(messages):
    return platform.model("loops").invoke("again").content


chain = RunnableLambda(lambda messages: messages[-1].content.upper()) | RunnableLambda(lambda text: f"<{text}>")


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    plan: str


async def plan(state):
    return {"plan": "look it up"}


async def answer(state):
    return {"messages": [await llm.ainvoke(state["messages"])]}


def asks(state):
    said = interrupt("May I go on?")
    return {"messages": [AIMessage(f"You said {said}.")]}


def graph(*nodes):
    made = StateGraph(State)
    for name, node in nodes:
        made.add_node(name, node)
    made.add_edge(START, nodes[0][0])
    for (one, _), (other, _) in pairwise(nodes):
        made.add_edge(one, other)
    made.add_edge(nodes[-1][0], END)
    return made.compile()


agent = graph(("plan", plan), ("answer", answer))
asking = graph(("plan", plan), ("asks", asks))
