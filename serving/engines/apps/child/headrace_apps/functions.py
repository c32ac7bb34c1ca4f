"""Runs functions and LangChain runnables: whatever they return or yield is converted to text."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from .run import Run


def text_of(value: Any) -> str:
    """Returns the text of a value that an app returns or yields: a string, a message, or a document with a `content`.

    Raises `TypeError`.
    """
    if isinstance(value, dict) and "content" in value:
        value = value["content"]
    value = getattr(value, "content", value)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, str | dict) for part in value):
        return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in value)
    raise TypeError(f"an app answers with text or messages, not with {type(value).__name__}")


async def run_function(function: Callable[..., Any], run: Run) -> None:
    """Calls a function with the messages of a run; unless it is a coroutine function, in its own thread."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        result = function(run.messages)
    else:
        result = await asyncio.to_thread(function, run.messages)
    await _emit(result, run)


async def run_runnable(runnable: Any, run: Run) -> None:
    """Streams the output of a LangChain runnable, whose input is a list of messages."""
    from langchain_core.messages import convert_to_messages

    await _emit(runnable.astream(convert_to_messages(run.messages)), run)


async def _emit(result: Any, run: Run) -> None:
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, AsyncIterator):
        async for piece in result:
            run.emit({"text": text_of(piece)})
    elif isinstance(result, Iterator):
        await asyncio.to_thread(_drain, result, run)
    else:
        run.emit({"text": text_of(result)})


def _drain(pieces: Iterator[Any], run: Run) -> None:
    for piece in pieces:
        run.emit({"text": text_of(piece)})
