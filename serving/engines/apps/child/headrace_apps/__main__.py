"""`python -m headrace_apps NAME OBJECT HOST READY SETTINGS`: imports an app's object and serves runs of it.

When it is ready, it writes its address into the file READY.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from .functions import run_function, run_runnable
from .server import Runner, RunServer


def load(object: str) -> Any:
    """Returns the object named by `module:attribute`. Raises whatever its import raises."""
    module, _, attribute = object.partition(":")
    return getattr(importlib.import_module(module), attribute)


def runner_of(found: Any, answer_nodes: list[str]) -> Runner:
    """Returns the function that runs an app's object. Raises `TypeError` for an unsupported object."""
    if _is_graph(found):
        from .graphs import prepared, run_graph

        graph = prepared(found)
        return lambda run: run_graph(graph, run, answer_nodes)
    if callable(getattr(found, "astream", None)):
        return lambda run: run_runnable(found, run)
    if callable(found) and not inspect.isclass(found):
        return lambda run: run_function(found, run)
    raise TypeError(f"it is {type(found).__name__}: an app is a graph, a runnable or a function of messages")


def _is_graph(found: Any) -> bool:
    """Returns whether the object is a LangGraph graph, compiled or not."""
    modules = {each.__module__.partition(".")[0] for each in type(found).__mro__}
    return "langgraph" in modules and (hasattr(found, "aget_state") or hasattr(found, "compile"))


async def serve(name: str, object: str, host: str, ready: Path, settings: dict[str, Any]) -> None:
    """Serves runs until the process is terminated."""
    runner = runner_of(load(object), settings["answer_nodes"])
    made = RunServer(runner, os.environ.pop("HEADRACE_APP_KEY"), settings["runs"], settings["timeout_s"])
    server, port = await made.start(host)
    new = ready.with_suffix(".new")
    new.write_text(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    new.rename(ready)
    print(f"{name} serves {object}", flush=True)
    async with server:
        await server.serve_forever()


def main(argv: list[str]) -> int:
    """Serves an app; returns an exit status."""
    name, object, host, ready, settings = argv
    try:
        asyncio.run(serve(name, object, host, Path(ready), json.loads(settings)))
    except Exception as e:
        traceback.print_exc(file=sys.stderr)
        print(f"AppImportError: {object} of the app {name} cannot be used: {type(e).__name__}: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
