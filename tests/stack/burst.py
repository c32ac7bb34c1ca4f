"""More concurrent callers than the stack admits: each asks for a long answer, and retries when it is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import httpx

from tests.stacks.stack import Stack

AGAIN_S = 1
"""A refused caller's pause."""
LONG = {
    "model": "ticker",
    "messages": [{"role": "user", "content": "Count."}],
    "max_tokens": 600,
    "stream": True,
}
"""Outlasts the burst, and costs no processor time: a word a second."""


class Burst:
    """A context manager that keeps `callers` streams open and counts `answered` and `refused`."""

    def __init__(self, stack: Stack, callers: int) -> None:
        self._stack = stack
        self._callers = callers
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.answered = 0
        self.refused = 0
        self.problems: list[str] = []

    def __enter__(self) -> Burst:
        self._thread.start()
        self._all = asyncio.run_coroutine_threadsafe(self._ask(), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnects all callers."""
        self._all.cancel()
        self._run(_ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _ask(self) -> None:
        async with (
            httpx.AsyncClient(
                base_url=self._stack.url,
                headers={"Authorization": f"Bearer {self._stack.key}"},
                limits=httpx.Limits(max_connections=None),
                timeout=60,
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self._callers):
                group.create_task(self._caller(client))

    async def _caller(self, client: httpx.AsyncClient) -> None:
        while True:
            try:
                async with client.stream("POST", "/v1/chat/completions", json=LONG) as answer:
                    if answer.status_code == 200:
                        self.answered += 1
                        await answer.aread()
                        self.problems.append("a long answer has ended")
                    elif b'"overloaded"' in await answer.aread() and answer.status_code == 429:
                        self.refused += 1
                    else:
                        self.problems.append(f"{answer.status_code}: {answer.text[:200]}")
            except httpx.HTTPError as e:
                self.problems.append(repr(e))
            await asyncio.sleep(AGAIN_S)


async def _ended() -> None:
    """Waits for the cancelled tasks."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
