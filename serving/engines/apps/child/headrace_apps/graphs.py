"""Runs LangGraph graphs: their tokens are the answer, their nodes the steps, and the platform stores their state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from .checkpoints import PlatformSaver
from .functions import text_of
from .run import Run

INPUT = "headrace_input"
"""Field of a checkpoint's metadata: the digest of the messages that its run started with."""

MAX_STEP = 4000
"""Maximum number of characters of a step."""


def prepared(graph: Any) -> Any:
    """Returns the compiled graph. The platform stores its checkpoints, unless the graph disables them."""
    if not hasattr(graph, "astream"):
        return graph.compile(checkpointer=PlatformSaver())
    if graph.checkpointer is not False:
        graph.checkpointer = PlatformSaver()
    return graph


async def run_graph(graph: Any, run: Run, answer_nodes: Collection[str]) -> None:
    """Streams a graph from its beginning, or from the latest checkpoint of its thread.

    If the thread waits for an answer to an interrupt, the newest message is that answer. If the thread's last run
    failed and the request is the same, the nodes that had not finished are run again.
    """
    digest = hashlib.sha256(json.dumps(run.messages[-run.new :], sort_keys=True).encode()).hexdigest()
    config = {"configurable": {"thread_id": run.thread}, "metadata": {INPUT: digest}}
    given = await _input(graph, config, run, digest)
    answer = _Answer(run, answer_nodes)
    values: Any = None
    modes = ["messages", "updates", "values"]
    # A step is stored before the next one begins, so that a resumed run does not repeat it.
    async for mode, data in graph.astream(given, config, stream_mode=modes, durability="sync"):
        if mode == "messages":
            answer.message(*data)
        elif mode == "updates":
            _steps(data, run)
        else:
            values = data
    if not answer.begun and not answer.interrupted(values) and isinstance(values, dict):
        last = (values.get("messages") or [None])[-1]
        run.emit({"text": text_of(last)})


async def _input(graph: Any, config: dict[str, Any], run: Run, digest: str) -> Any:
    from langchain_core.messages import convert_to_messages
    from langgraph.types import Command

    new = run.messages[-run.new :]
    state = await graph.aget_state(config) if graph.checkpointer else None
    if state is not None and state.next:
        waiting = [each for task in state.tasks for each in task.interrupts]
        said = text_of(new[-1])
        if len(waiting) == 1:
            return Command(resume=said)
        if waiting:
            return Command(resume={each.id: said for each in waiting})
        if (state.metadata or {}).get(INPUT) == digest:
            return None
    known = state is not None and bool(state.values)
    return {"messages": convert_to_messages(new if known else run.messages)}


class _Answer:
    """The text of a run so far."""

    def __init__(self, run: Run, nodes: Collection[str]) -> None:
        self._run = run
        self._nodes = nodes
        self._id: str | None = None
        self.begun = False

    def message(self, message: Any, metadata: dict[str, Any]) -> None:
        """Takes a part of a message that a node's model generates, or that a node adds."""
        if message.type not in ("ai", "AIMessageChunk"):
            return
        if self._nodes and metadata.get("langgraph_node") not in self._nodes:
            return
        text = text_of(message)
        if not text:
            return
        if self.begun and message.id != self._id:
            text = f"\n\n{text}"
        self.begun, self._id = True, message.id
        self._run.emit({"text": text})

    def interrupted(self, values: Any) -> bool:
        """Returns whether the graph waits for an answer."""
        return isinstance(values, dict) and bool(values.get("__interrupt__"))


def _steps(updates: dict[str, Any], run: Run) -> None:
    """Emits the nodes' steps: tool calls and results in their messages, or else that the nodes have finished."""
    for node, update in updates.items():
        if node == "__interrupt__":
            run.emit({"interrupt": [_plain(each.value) for each in update]})
            continue
        messages = update.get("messages") if isinstance(update, dict) else None
        steps = [step for message in _listed(messages) for step in _of_message(message)]
        for step in steps or [{"kind": "node", "name": node, "text": _changed(update)}]:
            run.emit({"step": {**step, "text": step["text"][:MAX_STEP]}})


def _of_message(message: Any) -> list[dict[str, str]]:
    if getattr(message, "type", "") == "tool":
        return [{"kind": "observation", "name": str(message.name or ""), "text": text_of(message)}]
    calls = getattr(message, "tool_calls", None) or ()
    return [{"kind": "action", "name": call["name"], "text": json.dumps(call["args"], default=str)} for call in calls]


def _changed(update: Any) -> str:
    """Returns text that names the changed fields of the state, with those values that are short texts."""
    if not isinstance(update, dict):
        return ""
    shown = {name: value for name, value in update.items() if name != "messages"}
    return ", ".join(
        f"{name}: {value}" if isinstance(value, str | int | float) else name for name, value in shown.items()
    )


def _listed(messages: Any) -> list[Any]:
    return messages if isinstance(messages, list) else [messages] if messages is not None else []


def _plain(value: Any) -> Any:
    """Returns an interrupt's value in a form that JSON can represent."""
    return json.loads(json.dumps(value, default=str))
