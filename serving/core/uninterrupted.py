"""Functions that run to their end even if their caller is cancelled.

A client that disconnects cancels its request at any `await`. A transaction that is interrupted there leaves its
connection, and with SQLite the single write lock, in an unknown state (measured: the next writer waits until its
timeout).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_inside: ContextVar[bool] = ContextVar("uninterrupted", default=False)


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work` to its end, and only then raises a pending cancellation."""
    task = asyncio.create_task(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as e:
            interrupted = e
    if interrupted is not None:
        if not task.cancelled():
            task.exception()  # mark the exception as retrieved: nobody else will
        raise interrupted
    return task.result()


def uninterrupted(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorator for functions that use `Database.read` and `Database.write`."""

    async def mark(*args: P.args, **kwargs: P.kwargs) -> T:
        _inside.set(True)
        return await function(*args, **kwargs)

    @wraps(function)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        if _inside.get():
            return await function(*args, **kwargs)
        return await finish(mark(*args, **kwargs))

    return wrapper


def require() -> None:
    """Raises `RuntimeError` outside of an `uninterrupted` function."""
    if not _inside.get():
        raise RuntimeError("transactions require an @uninterrupted function: a cancellation would leak them")
