"""Parsing in a child process, so that a hostile document can harm nothing but that child.

The child gets the bytes on stdin and an empty environment; it may use so much memory, processor time and
wall time, and `serving.confine` leaves it its pipes and the code of the parsers.
`python -m serving.retrieval.sandbox` is the child.
"""

from __future__ import annotations

import json
import sys
import sysconfig
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from serving.child import Overrun, ask
from serving.confine import LIBRARIES, Limits, Unconfined, confine
from serving.retrieval.builder import Bounds
from serving.retrieval.errors import Code, UnreadableDocument
from serving.retrieval.parse import parse
from serving.retrieval.types import Block, Document

_TOO_COMPLEX: Final[tuple[Code, str]] = ("too_complex", "the file needs too much time or memory to read")


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one parse may use: address space in bytes, seconds of processor and of wall time."""

    memory_bytes: int = 2_000_000_000
    cpu_s: int = 60
    wall_s: float = 120
    bounds: Bounds = field(default_factory=Bounds)


def parse_isolated(data: bytes, name: str, limits: SandboxLimits | None = None) -> Document:
    """`parse` in a child process.

    Raises `UnreadableDocument`, also when the child dies of its limits; `Unconfined` when it cannot be confined.
    """
    limits = limits or SandboxLimits()
    header = json.dumps({"name": name, "limits": asdict(limits)}).encode()
    return _decode(_ask(len(header).to_bytes(4, "big") + header + data, limits))


def _ask(question: bytes, limits: SandboxLimits) -> bytes:
    """Returns what the child wrote, at most what a document within its bounds can need."""
    bound = limits.bounds.characters * 12 + limits.bounds.blocks * 400
    try:
        return ask("serving.retrieval.sandbox", question, bound=bound, deadline=time.monotonic() + limits.wall_s)
    except Overrun:
        raise UnreadableDocument(*_TOO_COMPLEX) from None


def _decode(answer: bytes) -> Document:
    """A child that was killed leaves half an answer or none."""
    try:
        found = json.loads(answer)
    except ValueError:
        raise UnreadableDocument(*_TOO_COMPLEX) from None
    if "unconfined" in found:
        raise Unconfined(found["unconfined"])
    if "code" in found:
        raise UnreadableDocument(found["code"], found["message"])
    text = found["text"]
    blocks = (Block(text[start:end], start, tuple(heading), page) for start, end, heading, page in found["blocks"])
    return Document(found["kind"], found["title"], text, tuple(blocks))


def _encode(document: Document) -> dict[str, Any]:
    blocks = [[b.start, b.start + len(b.text), b.heading, b.page] for b in document.blocks]
    return {"kind": document.kind, "title": document.title, "text": document.text, "blocks": blocks}


def _confine(limits: dict[str, Any]) -> None:
    """Gives up what a parser does not need. A processor limit kills; a memory limit is a MemoryError."""
    packages = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    code = [Path(__file__).parents[1], Path(sys.base_prefix) / "lib", *packages, *LIBRARIES]
    confine(Limits(limits["memory_bytes"], limits["cpu_s"]), code)


def main() -> None:
    """The child: reads the request from stdin, writes a document or an error as JSON to stdout."""
    stdin = sys.stdin.buffer
    request = json.loads(stdin.read(int.from_bytes(stdin.read(4), "big")))
    try:
        _confine(request["limits"])
        bounds = Bounds(**request["limits"]["bounds"])
        answer = _encode(parse(stdin.read(), request["name"], bounds))
    except Unconfined as e:
        answer = {"unconfined": str(e)}
    except UnreadableDocument as e:
        answer = {"code": e.code, "message": e.message}
    except (MemoryError, RecursionError):
        answer = dict(zip(("code", "message"), _TOO_COMPLEX, strict=True))
    except Exception:
        # A parser's own failure: the caller learns that the file is at fault, not what stood in it.
        answer = {"code": "damaged", "message": "the file is damaged"}
    sys.stdout.buffer.write(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
