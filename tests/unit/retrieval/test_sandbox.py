"""The parsing sandbox: hostile documents cannot affect the process that parses them."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.core.confine import Unconfined, landlock_abi
from serving.core.fork_server import ForkServer
from serving.retrieval import sandbox
from serving.retrieval.builder import ChunkBounds
from serving.retrieval.chunk import ChunkSettings, chunk, extraction
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import detect, parse
from serving.retrieval.sandbox import ParserLimits, chunk_isolated, detect_isolated, parse_isolated
from serving.retrieval.text import tokens
from serving.retrieval.text.tokens import TOKENIZER, package_file
from tests.unit.retrieval import samples
from tests.unit.retrieval.test_parse import docx, encrypted_pdf, pdf


def test_the_sandbox_returns_the_result_of_parse() -> None:
    source = "# Title\n\nSome text – with more.\n".encode()
    assert parse_isolated(source, "a.md") == parse(source, "a.md")


@pytest.mark.parametrize(("name", "data"), [("a.txt", b"text"), ("a.docx", docx()), ("a.pdf", pdf("Page."))])
def test_the_sandbox_detects_the_same_format(name: str, data: bytes) -> None:
    assert detect_isolated(data, name) == detect(data, name, ChunkBounds())


def test_the_sandbox_refuses_what_detection_refuses() -> None:
    with pytest.raises(UnreadableDocument) as caught:
        detect_isolated(b"<!---->" * 500 + b"<html>", "a.txt")
    assert caught.value.code == "wrong_type"


@pytest.mark.parametrize(
    "text",
    ["# Guide\n\n## Ports\n\nThe API has 8080.\n", "no end of words " * 8_000, "Grüße."],
    ids=["sections", "longer than is read together", "not ASCII"],
)
def test_the_sandbox_returns_the_result_of_chunking(embedder: OnnxEmbedder, text: str) -> None:
    settings = ChunkSettings(max_tokens=100, overlap_tokens=20)
    document = parse(text.encode(), "a.md")
    chunks = chunk(document, embedder, settings)
    assert chunk_isolated(text.encode(), "a.md", settings) == (chunks, extraction(document, chunks))


def test_the_sandbox_works_in_a_process_with_many_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    opened = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while opened[-1] < 1024:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        assert parse_isolated(b"# Title\n", "a.md").title == "Title"
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_errors_of_parsing_reach_the_caller() -> None:
    with pytest.raises(UnreadableDocument) as caught:
        parse_isolated(b"\x00", "a.txt")
    assert caught.value.code == "not_text"


@pytest.mark.parametrize(
    "limits",
    [
        ParserLimits(memory_bytes=100_000_000),
        ParserLimits(cpu_s=1),
        ParserLimits(wall_s=0.3),
    ],
    ids=["memory", "processor", "wall-clock"],
)
def test_exceeding_a_limit_ends_only_the_child(limits: ParserLimits) -> None:
    source = b"word\n\n" * 400_000
    with pytest.raises(UnreadableDocument) as caught:
        parse_isolated(source, "a.md", limits)
    assert caught.value.code == "too_complex"


def test_parsing_limits_reach_the_child() -> None:
    with pytest.raises(UnreadableDocument) as caught:
        parse_isolated(b"word " * 100, "a.txt", ParserLimits(bounds=ChunkBounds(characters=50)))
    assert caught.value.code == "too_long"


@pytest.fixture
def fresh_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_CHILDREN", ForkServer("serving.retrieval.sandbox"))


@pytest.mark.usefixtures("fresh_server")
def test_the_child_sees_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "tangerine")
    seen: list[dict[str, str]] = []
    popen = subprocess.Popen

    def spy(*args: object, **keywords: object) -> object:
        seen.append(keywords["env"])  # type: ignore[arg-type]
        return popen(*args, **keywords)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", spy)
    parse_isolated(b"text", "a.txt")
    assert "tangerine" in os.environ.values()
    assert "tangerine" not in str(seen)


def test_a_confined_process_cannot_write(tmp_path: Path) -> None:
    code = (
        "from dataclasses import asdict; from serving.retrieval import sandbox as s;"
        f"open({str(tmp_path / 'before')!r}, 'w').close();"
        f"s._confine(asdict(s.ParserLimits())); open({str(tmp_path / 'after')!r}, 'w')"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert child.stderr.splitlines()[-1].startswith("PermissionError"), child.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["before"]


def test_the_child_loads_only_what_parsing_needs() -> None:
    heavy = ("numpy", "lancedb", "ray", "pydantic")
    code = f"import sys, serving.retrieval.sandbox; print([m for m in {heavy} if m in sys.modules])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert child.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.pdf", pdf("First page.", "Second page.")),
        ("a.docx", docx()),
        ("a.html", b"<title>T</title><h1>One</h1><p>Text &amp; more.</p>"),
        ("a.txt", "Grüße".encode("utf-16")),
        ("a.md", b"# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"),
        *((f"a.{format}", getattr(samples, format)()) for format in ("xlsx", "pptx", "epub", "eml", "msg")),
        *(("a.csv", b"a,b\n1,2\n"), ("a.json", b'{"a": 1}'), ("a.py", b"a = 1\n")),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_every_parser_works_in_a_confined_process(name: str, data: bytes) -> None:
    isolated = parse_isolated(data, name)
    assert isolated.blocks
    assert isolated == parse(data, name)


def test_the_tokenizer_may_be_outside_the_readable_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image names its folder of weights in an environment variable, and the child has no environment."""
    file = tmp_path / "tokenizer.json"
    file.write_bytes(package_file(*TOKENIZER).read_bytes())
    monkeypatch.setattr(tokens, "package_file", lambda *_: file)
    [chunk], _ = sandbox.chunk_isolated(b"# Title\n\nSome text.\n", "a.md", ChunkSettings())
    assert "Some text." in chunk.text


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_an_unreadable_tokenizer_is_not_reported_as_an_invalid_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(tokens, "package_file", lambda *_: file)
    with pytest.raises(sandbox.TokenizerUnreadable, match=re.escape(str(file))):
        sandbox.chunk_isolated(b"# Title\n", "a.md", ChunkSettings())


def test_the_child_of_a_cancelled_request_is_killed() -> None:
    looks = iter([True, True])
    with pytest.raises(UnreadableDocument) as caught:
        chunk_isolated(b"word " * 400_000, "a.txt", ChunkSettings(), wanted=lambda: next(looks, False))
    assert caught.value.code == "too_complex"


def test_an_encrypted_pdf_is_recognised_in_a_confined_process() -> None:
    with pytest.raises(UnreadableDocument) as caught:
        parse_isolated(encrypted_pdf(), "a.pdf")
    assert caught.value.code == "encrypted"


@pytest.fixture(scope="module")
def taken_over() -> Iterator[ForkServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANTED", "tangerine")
        yield ForkServer("tests.unit.retrieval.taken_over")


@pytest.mark.parametrize(
    ("attempt", "refused"),
    [
        ("import socket; socket.socket()", True),
        ("import os; os.fork()", True),
        ("import subprocess; subprocess.run(['/bin/true'])", True),
        ("import os; os.kill(os.getppid(), 0)", True),
        ("import os; os.pidfd_open(os.getppid())", True),
        ("import os; open(f'/proc/{os.getppid()}/mem', 'rb')", landlock_abi() > 0),
        ("import os; os.listdir(f'/proc/{os.getppid()}/fd')", landlock_abi() > 0),
        ("open('/etc/passwd')", landlock_abi() > 0),
        ("open('/tmp/planted', 'w')", True),
        ("import os; os.listdir('.')", landlock_abi() > 0),
        ("import os; os.fstat(3)", True),
        ("import os; assert 'tangerine' not in str(os.environ)", False),
        ("import resource as r; assert r.getrlimit(r.RLIMIT_CPU) == (10, 10)", False),
        ("import resource as r; assert r.getrlimit(r.RLIMIT_AS) == (2_000_000_000, 2_000_000_000)", False),
        ("assert not seen; seen.append('tangerine')", False),
        ("assert not seen", False),
    ],
)
def test_a_compromised_parser_reaches_nothing(
    taken_over: ForkServer, monkeypatch: pytest.MonkeyPatch, attempt: str, refused: bool
) -> None:
    """The documents of the compromised parser are programs; they run in the confined child process that parses them."""
    monkeypatch.setattr(sandbox, "_CHILDREN", taken_over)
    assert detect_isolated(attempt.encode(), "a.txt") == ("refused" if refused else "done")


def test_a_child_that_cannot_be_confined_parses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_ask", lambda *_: b'{"unconfined": "seccomp: Invalid argument"}')
    with pytest.raises(Unconfined, match="seccomp"):
        parse_isolated(b"text", "a.txt")
