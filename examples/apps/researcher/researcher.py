"""An agent that looks into the documentation, answers from it, and asks before it goes on without any."""

from __future__ import annotations

from headrace_apps import platform
from langchain_core.messages import SystemMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

llm = platform.model("smollm2", temperature=0, max_tokens=80)


class State(MessagesState):
    found: str


async def search(state: State) -> dict[str, str]:
    hits = await platform.asearch(state["messages"][-1].text, "docs", max_num_results=2)
    return {"found": "\n\n".join(part["text"] for hit in hits for part in hit["content"])}


def confirm(state: State) -> dict[str, str]:
    if not state["found"]:
        interrupt("The documents have nothing about this. Shall I answer without them?")
    return {}


async def answer(state: State) -> dict[str, list[object]]:
    told = SystemMessage(f"Answer in one sentence, from these excerpts:\n{state['found']}")
    return {"messages": [await llm.ainvoke([told, *state["messages"]])]}


graph = StateGraph(State).add_sequence([search, confirm, answer]).add_edge(START, "search").compile()
