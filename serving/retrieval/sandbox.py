"""Detecting, parsing and chunking in a child process, so that a hostile document can harm only that process.

Each document has its own child process, which gets the bytes on stdin and an empty environment. Its memory, CPU time
and wall-clock time are limited, and `serving.core.confine` leaves it only its pipes and the code of the parsers.
`python -m serving.retrieval.sandbox` is the server that forks the children: it has imported the parsers and read the
tokenizer, but never sees a document.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, Literal

from serving.core.child import Overrun
from serving.core.confine import LIBRARIES, ProcessLimits, Unconfined, confine
from serving.core.fork_server import ForkServer, serve
from serving.retrieval.builder import ChunkBounds
from serving.retrieval.chunk import ChunkSettings, WordTokenizer, chunk, extraction
from serving.retrieval.errors import Code, UnreadableDocument
from serving.retrieval.parse import detect, parse
from serving.retrieval.parsers import FORMATS
from serving.retrieval.types import Block, Chunk, Document, Extraction

_TOO_COMPLEX: Final[tuple[Code, str]] = ("too_complex", "the file needs too much time or memory to read")


Task = Literal["detect", "parse", "chunk"]


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Limits of one task: address space in bytes, seconds of CPU time and of wall-clock time."""

    memory_bytes: int = 2_000_000_000
    cpu_s: int = 60
    wall_s: float = 120
    bounds: ChunkBounds = field(default_factory=ChunkBounds)


DETECTING: Final = ParserLimits(cpu_s=10, wall_s=30)
"""Limits of detection, which only scans the bytes."""

CHUNKING: Final = ParserLimits(cpu_s=300, wall_s=600)
"""Limits of chunking the largest files: a document of 20,000,000 characters has millions of words, all of which are
counted.
"""

_SMALL_CPU_S: Final = 30
_CPU_S_PER_MB: Final = 120
"""CPU time of chunking by the size of a file: a megabyte of text takes up to 5 s, a scanned page of 40 KB as much."""


def chunking_limits(size: int, bounds: ChunkBounds | None = None) -> ParserLimits:
    """Returns the limits of chunking a file of `size` bytes, within the bounds of any file."""
    cpu_s = min(CHUNKING.cpu_s, _SMALL_CPU_S + _CPU_S_PER_MB * size // 1_000_000)
    return replace(CHUNKING, cpu_s=cpu_s, bounds=bounds or ChunkBounds())


class TokenizerUnreadable(Exception):
    """The tokenizer cannot be read: the installation is at fault, not the document."""


def parse_isolated(data: bytes, name: str, limits: ParserLimits | None = None) -> Document:
    """`parse` in a child process. Raises `UnreadableDocument`, also when the child exceeds its limits; `Unconfined`
    when it cannot be confined.
    """
    found = _answer("parse", data, name, limits or ParserLimits())
    text = found["text"]
    blocks = (Block(text[start:end], start, tuple(heading), *more) for start, end, heading, *more in found["blocks"])
    return Document(found["kind"], found["title"], text, tuple(blocks), *found["unread"])


def detect_isolated(data: bytes, name: str, limits: ParserLimits = DETECTING) -> str:
    """`detect` in a child process; raises as `parse_isolated` does."""
    kind: str = _answer("detect", data, name, limits)["kind"]
    return kind


def chunk_isolated(
    data: bytes,
    name: str,
    settings: ChunkSettings,
    limits: ParserLimits | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> tuple[list[Chunk], Extraction]:
    """`parse`, then `chunk` with the embedder's tokenizer, in a child process; raises as `parse_isolated` does.

    `limits` are by default those of the file's size.

    The child is terminated, as for too complex a document, once `wanted` returns False. Raises `FileNotFoundError` when
    the tokenizer is not installed, and `TokenizerUnreadable`.
    """
    from serving.retrieval.text.tokens import TOKENIZER, package_file

    # Looked up here: the child's environment is empty, and images name the folder of the weights in the environment.
    tokenizer = str(package_file(*TOKENIZER))
    limits = limits or chunking_limits(len(data))
    found = _answer("chunk", data, name, limits, wanted, settings=asdict(settings), tokenizer=tokenizer)
    return [Chunk(*values) for values in found["chunks"]], Extraction(*found["extraction"])


def _tokenizer() -> list[str]:
    """Returns the tokenizer's file, if it exists: the child that needs it reports errors in it."""
    from serving.retrieval.text.tokens import TOKENIZER, package_file

    with suppress(FileNotFoundError):
        return [str(package_file(*TOKENIZER))]
    return []


_CHILDREN: Final = ForkServer("serving.retrieval.sandbox", _tokenizer)


def _answer(
    task: Task,
    data: bytes,
    name: str,
    limits: ParserLimits,
    wanted: Callable[[], bool] = lambda: True,
    **more: Any,
) -> dict[str, Any]:
    header = json.dumps({"task": task, "name": name, "limits": asdict(limits), **more}).encode()
    bounds = limits.bounds.of_file(len(data))
    question = len(header).to_bytes(4, "big") + header + data
    return _decode(_ask(question, replace(limits, bounds=bounds), wanted))


def _ask(question: bytes, limits: ParserLimits, wanted: Callable[[], bool]) -> bytes:
    """Returns the child's output, limited to what a document within its bounds, or its chunks, can need."""
    bound = limits.bounds.characters * 12 + limits.bounds.blocks * 400
    try:
        deadline = time.monotonic() + limits.wall_s
        return _CHILDREN.ask(question, bound=bound, deadline=deadline, wanted=wanted)
    except Overrun:
        raise UnreadableDocument(*_TOO_COMPLEX) from None


def _decode(answer: bytes) -> dict[str, Any]:
    """Decodes the child's answer, which is incomplete or missing if it was killed."""
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise UnreadableDocument(*_TOO_COMPLEX) from None
    if "unconfined" in found:
        raise Unconfined(found["unconfined"])
    if "tokenizer" in found:
        raise TokenizerUnreadable(found["tokenizer"])
    if "code" in found:
        raise UnreadableDocument(found["code"], found["message"])
    return found


def _done(request: dict[str, Any], data: bytes, counter: WordTokenizer | None) -> dict[str, Any]:
    bounds = ChunkBounds(**request["limits"]["bounds"])
    if request["task"] == "detect":
        return {"kind": detect(data, request["name"], bounds)}
    document = parse(data, request["name"], bounds)
    if counter is None:
        return _encode(document)
    chunks = chunk(document, counter, ChunkSettings(**request["settings"]), bounds.of_file(len(data)))
    return {"chunks": [astuple(each) for each in chunks], "extraction": astuple(extraction(document, chunks))}


def _counter(request: dict[str, Any]) -> WordTokenizer | None:
    return _word_pieces(request["tokenizer"]) if request["task"] == "chunk" else None


@cache
def _word_pieces(tokenizer: str) -> WordTokenizer:
    from serving.retrieval.text.tokens import WordPieces  # the process that starts children does not need the library

    try:
        return WordPieces(Path(tokenizer))
    except Exception as e:  # the library's errors have no type of their own
        raise TokenizerUnreadable(f"{tokenizer}: {e}") from e


def _encode(document: Document) -> dict[str, Any]:
    blocks = [[b.start, b.start + len(b.text), b.heading, b.page, b.row] for b in document.blocks]
    unread = document.unreadable, document.unread_pages
    return {"kind": document.kind, "title": document.title, "text": document.text, "blocks": blocks, "unread": unread}


def _confine(limits: dict[str, Any]) -> None:
    """Drops what a parser does not need. The CPU limit kills the process; the memory limit raises MemoryError."""
    packages = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    code = [Path(__file__).parents[1], Path(sys.base_prefix) / "lib", *packages, *LIBRARIES]
    confine(ProcessLimits(limits["memory_bytes"], limits["cpu_s"]), code)


def _respond() -> None:
    """Runs in a child: reads the request from stdin, and writes the result or an error as JSON to stdout."""
    with open(0, "rb", closefd=False) as stdin:
        request = json.loads(stdin.read(int.from_bytes(stdin.read(4), "big")))
        try:
            # The tokenizer is read before confinement: in an image its package is outside of the parsers' folders.
            counter = _counter(request)
            _confine(request["limits"])
            answer = _done(request, stdin.read(), counter)
        except Unconfined as e:
            answer = {"unconfined": str(e)}
        except TokenizerUnreadable as e:
            answer = {"tokenizer": str(e)}
        except UnreadableDocument as e:
            answer = {"code": e.code, "message": e.message}
        except (MemoryError, RecursionError):
            answer = dict(zip(("code", "message"), _TOO_COMPLEX, strict=True))
        except Exception:
            # An error of the parser itself: the caller learns that the file is damaged, but nothing of its content.
            answer = {"code": "damaged", "message": "the file is damaged"}
    # A surrogate, which UTF-8 cannot encode, is escaped as in JSON.
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode(errors="backslashreplace"))


def _import(module: str) -> None:
    with suppress(Exception):  # whatever is wrong with a parser's library, the child that needs it reports it
        importlib.import_module(module)


def _read_tokenizer(file: str) -> None:
    with suppress(TokenizerUnreadable):
        _word_pieces(file)


def main(tokenizer: Sequence[str]) -> None:
    """The server: imports everything that children may need, and starts no threads, so that it can fork."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # confinement allows threads, and their CPU time counts together
    modules = dict.fromkeys(f.parser.partition(":")[0] for f in FORMATS.values() if not f.requires)
    serve(_respond, [*(partial(_read_tokenizer, file) for file in tokenizer), *(partial(_import, m) for m in modules)])


if __name__ == "__main__":
    main(sys.argv[1:])
