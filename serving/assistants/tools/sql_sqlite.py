"""Read-only queries of an SQLite file.

Each runs in its own child process, since nothing inside SQLite stops a slow function.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote, urlsplit

from serving.assistants.tools.rows import Rows
from serving.assistants.tools.tool import ToolError
from serving.config import SqlTool
from serving.core.child import Overrun, ask

_BOUND = 4_000_000
"""Maximum size of an answer in bytes: at most one wide row longer than what is shown."""

_AT_ONCE = 4

# Separate threads: other work does not wait for a slow query.
_THREADS = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sql-tool")

_under_way: set[Future[dict[str, Any]]] = set()
"""Maximum number of running and waiting queries."""


async def query(settings: SqlTool, sql: str) -> Rows:
    """Returns the first rows of a query. Raises `ToolError`."""
    answer = await _ask(settings, {"sql": sql, "max_rows": settings.max_rows})
    return Rows(answer["columns"], answer["rows"], answer["more"])


async def columns(settings: SqlTool) -> dict[str, list[str]]:
    """Returns the columns of its tables, with their types. Raises `ToolError`."""
    tables: dict[str, list[str]] = (await _ask(settings, {"tables": settings.tables}))["tables"]
    return tables


async def _ask(settings: SqlTool, question: dict[str, Any]) -> dict[str, Any]:
    stop = threading.Event()
    file = unquote(urlsplit(settings.database).path[1:])
    asked = json.dumps({**question, "file": file, "seconds": settings.timeout_s}).encode()
    deadline = time.monotonic() + settings.timeout_s
    waits = len(_under_way) >= _AT_ONCE
    running = _THREADS.submit(_run, settings, asked, deadline, stop, waits)
    _under_way.add(running)
    running.add_done_callback(_under_way.discard)
    try:
        answer = await asyncio.wrap_future(running)
    finally:
        stop.set()  # also when the caller no longer waits
    if "error" in answer:
        raise ToolError(answer["error"])
    return answer


def _run(settings: SqlTool, asked: bytes, deadline: float, stop: threading.Event, waits: bool) -> dict[str, Any]:
    too_long = ToolError(f"the query took longer than {settings.timeout_s:g} s")
    if stop.is_set() or time.monotonic() > deadline:
        raise ToolError("too many queries are waiting") if waits else too_long
    try:
        said = ask(
            "serving.assistants.tools.sql_sqlite_child",
            asked,
            options="-SBP",
            bound=_BOUND,
            deadline=deadline,
            wanted=lambda: not stop.is_set(),
        )
        answer: dict[str, Any] = json.loads(said)
    except Overrun:
        raise too_long from None
    except ValueError:  # a killed child leaves an incomplete answer or none
        # A child that used up its CPU time, whose limit is longer than the query's, died after the deadline.
        late = time.monotonic() > deadline
        raise too_long if late else ToolError("the query needs too much time or memory") from None
    return answer
