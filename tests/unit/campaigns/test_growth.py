"""No function that reads a stranger's text takes more than n log n of time, whatever the text is."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.assistants.spotlight import Spotlight
from serving.assistants.strategies import answers, react_text
from serving.assistants.strategies.code_block import code_block
from serving.assistants.unmarking import Unmarking
from serving.config import PersonalData
from serving.guardrails.rules import canonical
from serving.guardrails.rules.injection import Injection
from serving.guardrails.rules.links import Links
from serving.guardrails.rules.pii import PersonalInformation
from serving.guardrails.rules.secrets import Secrets
from serving.guardrails.rules.words import Words
from serving.guardrails.screen import Rule, screen, screen_arguments
from serving.guardrails.window import Window
from serving.protocol import json_schema_limits
from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.chunk import ChunkSettings, chunk
from serving.retrieval.cite import attribute
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import detect, parse
from serving.retrieval.relevance import relevance
from serving.retrieval.text.sentences import sentence_spans
from serving.retrieval.text.words import opposed, read
from serving.retrieval.types import Block, Document, Hit
from tests.unit.campaigns.growth import Shape, shapes, superlinear


class _Tokenizer:
    """One token for each word."""

    max_tokens = 256

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def word_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int, int]]]:
        return [[(*found.span(), 1) for found in re.finditer(r"\S+", text)] for text in texts]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.full((len(texts), 4), 0.5, np.float32)


TOKENIZER = _Tokenizer()
UNMARKING = Unmarking.in_prompt([{"role": "user", "content": Spotlight("datamark", b"k").on("a")}])
CHECKS = {
    "injection": Injection(),
    "secrets": Secrets(),
    "links": Links((), 100),
    "pii": PersonalInformation(get_args(PersonalData)),
    "topics": Words(("bluebird", "a b")),
}
SOURCE = "It is not stored on disk, but kept in memory. The ab stores 1,000 of them and is not a b."


def _hit(text: str) -> Hit:
    return Hit("f:0", "f", "f.md", "T", "H", text, 0, len(text), None, 1.0, 1.0, 1.0)


def _read_as(name: str) -> Callable[[str], object]:
    def work(text: str) -> None:
        with suppress(UnreadableDocument):
            parse(text.encode(errors="replace"), name)

    return work


def _detected(text: str) -> None:
    for name in ("a.txt", "a.html", "a.md"):
        with suppress(UnreadableDocument):
            detect(text.encode(errors="replace"), name, ChunkBounds())


def _archive(text: str) -> None:
    with suppress(UnreadableDocument):
        detect(b"PK\x03\x04" + text.encode(errors="replace"), "a.docx", ChunkBounds())


def _built(text: str) -> None:
    builder = DocumentBuilder("text", ChunkBounds())
    builder.heading(text, 1)
    builder.add(text)


def _chunked(text: str) -> None:
    block = Block(text, 0, ("H",))
    chunk(Document("text", text[:300], text, (block,)), TOKENIZER, ChunkSettings(100, 20))


def _streamed(text: str) -> None:
    text *= 4  # a stream holds some back
    window = Window([Rule("topics", "redact", CHECKS["topics"])])
    for at in range(0, len(text), 40):
        window.feed(text[at : at + 40])
    window.end()


def _limited(text: str) -> None:
    with suppress(ValueError):
        json_schema_limits.checked({"type": "object", "properties": {"a": {"type": "string", "pattern": text}}})


FUNCTIONS: dict[str, Callable[[str], object]] = {
    "detect": _detected,
    "detect an archive": _archive,
    "parse a text": _read_as("a.txt"),
    "parse a page": _read_as("a.html"),
    "parse Markdown": _read_as("a.md"),
    "build": _built,
    "sentences": lambda text: list(sentence_spans(text)),
    "words": read,
    "opposed": lambda text: opposed(read(text), read(SOURCE)),
    "relevance of a question": lambda text: relevance(text, [_hit(SOURCE)]),
    "relevance of a chunk": lambda text: relevance(SOURCE, [_hit(text)]),
    "attribute an answer": lambda text: attribute(text, [_hit(SOURCE)], TOKENIZER),
    "attribute to a chunk": lambda text: attribute(SOURCE, [_hit(text)], TOKENIZER),
    "attribute to itself": lambda text: attribute(text, [_hit(text[:150])], TOKENIZER),
    "chunk": _chunked,
    "spotlight": Spotlight("datamark", b"k").on,
    "marks of a prompt": lambda text: Unmarking.in_prompt([{"role": "user", "content": text}]),
    "answer without marks": lambda text: UNMARKING and UNMARKING.text(text),
    "program": code_block,
    "ReAct": react_text.parse,
    "ReAct's call": lambda text: react_text.parse(f"Action: a\nAction Input: {text}"),
    "answer": answers.find,
    "value": answers.value,
    "visible": canonical.visible,
    "skeleton": canonical.skeleton,
    **{f"guardrail {name}": check.find for name, check in CHECKS.items()},
    "arguments": lambda text: screen_arguments(json.dumps({text: [text]}), [Rule("w", "redact", CHECKS["topics"])]),
    "findings": lambda text: screen(text, [Rule("w", "redact", Words(("a", "1", "x")))]),
    "stream": _streamed,
    "schema": _limited,
}


@pytest.mark.parametrize(
    ("length", "others"), [pytest.param(300, 8, id="ci"), pytest.param(4000, 400, id="soak", marks=pytest.mark.soak)]
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_time_grows_no_faster_than_the_text(name: str, length: int, others: int) -> None:
    found = [s for s in shapes(zlib.crc32(name.encode()), others) if superlinear(FUNCTIONS[name], s, length)]
    assert not found, f"time grows faster than n log n: {found}"


@pytest.mark.parametrize("pattern", [r" +(?=\n)", r"(<!--.*?-->\s*)*<html"], ids=["quadratic", "exponential"])
def test_superlinear_growth_is_detected(pattern: str) -> None:
    form = re.compile(pattern)
    assert superlinear(form.search, Shape(" " if pattern[0] == " " else "<!---->", after="b"), 400)


def test_linear_growth_passes() -> None:
    assert not superlinear(str.split, Shape("a "), 400)
    assert not superlinear(sorted, Shape("a1"), 400)
