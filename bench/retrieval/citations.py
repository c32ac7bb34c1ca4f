"""The quality of the default assistant's citations, on the bundled questions, without Ray or HTTP.

    python -m bench.retrieval.citations [--show]

The assistant `docs` of Pulumi.local.yaml reads README.md and docs/ through the library's own parser, chunker,
embedder and index, and llama.cpp answers with the engine's parameters. A citation is correct if its quote
comes from a file that answers the question (`files`) or contains the answer itself (`must`); both are reported,
and every wrong one is printed, so that a person can tell a wrong citation from an incomplete question.
"""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from serving.assistants import prompt
from serving.config import Assistant, LlamaCppModel
from serving.engines.llamacpp_server import serve
from serving.engines.source import resolve
from serving.retrieval.chunk import ChunkSettings, chunk
from serving.retrieval.cite import attribute
from serving.retrieval.embed import Embedder
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.parse import parse
from serving.retrieval.replica import for_prompt
from serving.retrieval.types import Attribution, Citation, Hit

CHECKOUT = Path(__file__).resolve().parents[2]
QUESTIONS = CHECKOUT / "tests" / "client" / "questions.jsonl"
TENANT = "bench"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the files that answer it (none if off-topic) and texts, one of which is in a correct quote."""

    question: str
    files: tuple[str, ...]
    must: tuple[str, ...]

    @classmethod
    def load(cls) -> list[Self]:
        documents = map(json.loads, QUESTIONS.read_text(encoding="utf-8").splitlines())
        return [cls(d["question"], tuple(d["files"]), tuple(d["must"])) for d in documents]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the assistant; `hits` is empty if it refused without asking the model."""

    question: Question
    text: str
    hits: tuple[Hit, ...]
    attribution: Attribution

    @property
    def refused(self) -> bool:
        return not self.hits

    def in_files(self, citation: Citation) -> bool:
        return citation.file_name in self.question.files

    def holds_must(self, citation: Citation) -> bool:
        quote = " ".join(citation.quote.split())
        return any(" ".join(must.split()) in quote for must in self.question.must)


class DocumentationAssistant:
    """The assistant: an index of the documentation, and the model that answers from it."""

    def __init__(self, folder: str, model: LlamaCppModel, root: Path = CHECKOUT) -> None:
        self.embedder = Embedder()
        self._index = _build_index(folder, root, self.embedder)
        self._key = secrets.token_urlsafe(32)
        settings = {"context": model.context, "slots": model.slots, "threads": model.threads}
        self._engine = serve(Path(resolve(model.source)), model.name, "127.0.0.1", 0, [self._key], **settings)

    def hits(self, assistant: Assistant, question: str) -> list[Hit]:
        """Returns the hits that the retrieval replica would return."""
        vector = self.embedder.embed([question])[0]
        found = self._index.search(TENANT, question, vector, assistant.top_k, "hybrid")
        return for_prompt(question, found, assistant, self.embedder)

    def complete(self, assistant: Assistant, messages: list[dict[str, Any]]) -> str:
        """Returns the model's answer, sampled with the assistant's settings."""
        settings = {"temperature": assistant.temperature, "max_tokens": assistant.max_tokens}
        body = {"messages": messages} | {k: v for k, v in settings.items() if v is not None}
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        url = f"{self._engine.listening_address}/v1/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=300) as response:
            text: str = json.load(response)["choices"][0]["message"]["content"] or ""
        return text

    def ask(self, assistant: Assistant, question: Question) -> Answer:
        hits = self.hits(assistant, question.question)
        if not hits:
            return Answer(question, assistant.refusal, (), Attribution((), ()))
        messages = prompt.messages(assistant, hits, [{"role": "user", "content": question.question}])
        text = self.complete(assistant, messages)
        return Answer(question, text, tuple(hits), attribute(text, hits, self.embedder))


def default_assistant() -> tuple[Assistant, LlamaCppModel]:
    """Returns the assistant and the model of Pulumi.local.yaml."""
    config = yaml.safe_load((CHECKOUT / "Pulumi.local.yaml").read_text(encoding="utf-8"))["config"]
    return Assistant(**config["headrace:assistants"][0]), LlamaCppModel(**config["headrace:models"][0])


def report(answers: Sequence[Answer]) -> str:
    """Returns the figures, and each citation that meets neither criterion."""
    asked = [a for a in answers if a.question.files]
    off = [a for a in answers if not a.question.files]
    answered = [a for a in asked if not a.refused]
    cited = [a for a in answered if a.attribution.citations]
    citations = [(a, c) for a in answers for c in a.attribution.citations]
    held = sum(a.holds_must(c) for a, c in citations)
    filed = sum(a.in_files(c) for a, c in citations)
    wrong = [(a, c) for a, c in citations if not a.in_files(c) and not a.holds_must(c)]
    right = sum(any(a.holds_must(c) for c in a.attribution.citations) for a in cited)
    unsupported = sum(bool(a.attribution.unsupported) for a in answered)
    lines = [
        f"on topic: {len(asked)} asked, {len(answered)} answered, {len(asked) - len(answered)} refused, "
        f"{len(cited)} cited, {right} cite the answer itself, {unsupported} say something unsupported",
        f"off topic: {len(off)} asked, {sum(a.refused for a in off)} refused",
        f"citations: {len(citations)}, from a right file {_share(filed, len(citations))}, "
        f"with the answer itself {_share(held, len(citations))}, "
        f"either {_share(len(citations) - len(wrong), len(citations))}",
    ]
    lines += [f"wrong? {a.question.question} | {a.text!r} | {c.file_name}: {c.quote!r}" for a, c in wrong]
    return "\n".join(lines)


def _show(answer: Answer) -> str:
    marks = "".join("M" if answer.holds_must(c) else "f" if answer.in_files(c) else "x" for c in _citations(answer))
    quotes = [f"\n    {c.file_name} {c.support:.2f}: {c.quote!r}" for c in _citations(answer)]
    return f"[{'refused' if answer.refused else marks or '-'}] {answer.question.question}\n  {answer.text!r}" + "".join(
        quotes
    )


def _citations(answer: Answer) -> tuple[Citation, ...]:
    return answer.attribution.citations


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({part / whole:.3f})" if whole else "0/0"


def _build_index(folder: str, root: Path, embedder: Embedder) -> CollectionIndex:
    settings = ChunkSettings()
    manifest = CollectionManifest(
        embedder.id, embedder.dimensions, settings.max_tokens, settings.overlap_tokens, "bench"
    )
    index = CollectionIndex.open(folder, "docs", manifest, create=True)
    for name in _documents(root):
        chunks = chunk(parse((root / name).read_bytes(), name), embedder, settings)
        index.upsert_file(TENANT, name.replace("/", "-"), name, chunks, embedder.embed([c.body for c in chunks]))
    index.optimize()
    return index


def _documents(root: Path) -> Iterator[str]:
    yield "README.md"
    yield from sorted(str(path.relative_to(root)) for path in (root / "docs").rglob("*.md"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--show", action="store_true", help="also print every answer")
    arguments = parser.parse_args()
    assistant, model = default_assistant()
    with tempfile.TemporaryDirectory() as folder:
        desk = DocumentationAssistant(folder, model)
        began, answers = time.perf_counter(), []
        for question in Question.load():
            answers.append(desk.ask(assistant, question))
            if arguments.show:
                print(_show(answers[-1]), flush=True)
        print(f"{len(answers)} questions in {time.perf_counter() - began:.0f} s")
        print(report(answers))


if __name__ == "__main__":
    main()
