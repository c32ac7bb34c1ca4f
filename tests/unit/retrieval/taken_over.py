"""The server of the sandbox with a parser that runs whatever a document says, as one that was taken over would."""

from __future__ import annotations

from typing import Any

from serving.retrieval import sandbox

seen: list[str] = []


def run(request: dict[str, Any], data: bytes, counter: object) -> dict[str, Any]:
    del request, counter
    try:
        exec(data, {"seen": seen})
    except OSError:
        return {"kind": "refused"}
    return {"kind": "done"}


if __name__ == "__main__":
    sandbox._done = run
    sandbox.main([])
