"""Parsing in a child process, so that a hostile document can harm nothing but that child.

The child gets the bytes on stdin and an empty environment; it may use so much memory, processor time and
wall time, and may write no file. `python -m serving.retrieval.sandbox` is the child.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from serving.retrieval.builder import Bounds
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import parse
from serving.retrieval.types import Block, Document

_TOO_COMPLEX = ("too_complex", "the file needs too much time or memory to read")


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one parse may use: address space in bytes, seconds of processor and of wall time."""

    memory_bytes: int = 2_000_000_000
    cpu_s: int = 60
    wall_s: float = 120
    bounds: Bounds = Bounds()


def parse_isolated(data: bytes, name: str, limits: SandboxLimits | None = None) -> Document:
    """`parse` in a child process. Raises `UnreadableDocument`, also when the child dies of its limits."""
    limits = limits or SandboxLimits()
    header = json.dumps({"name": name, "limits": asdict(limits)}).encode()
    with tempfile.TemporaryFile() as stdin:  # a file, not a pipe: a child that dies early cannot block us
        stdin.write(len(header).to_bytes(4, "big") + header + data)
        stdin.seek(0)
        answer = _run(stdin, limits)
    return _decode(answer)


def _run(stdin: BinaryIO, limits: SandboxLimits) -> bytes:
    """Returns what the child wrote, at most what a document within its bounds can need."""
    bound = limits.bounds.characters * 12 + limits.bounds.blocks * 400
    command = [sys.executable, "-P", "-m", "serving.retrieval.sandbox"]
    child = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment(), cwd="/"
    )
    try:
        output = _read(child, bound, limits.wall_s)
    except subprocess.TimeoutExpired:
        raise UnreadableDocument(*_TOO_COMPLEX) from None
    finally:
        child.kill()
        child.communicate()
    if child.returncode != 0 or len(output) > bound:
        raise UnreadableDocument(*_TOO_COMPLEX)
    return output
