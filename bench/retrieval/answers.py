"""The default assistant's answers to questions about this documentation, without Ray or HTTP.

    python -m bench retrieval answers [--half tuning|held-out] [--show]

The assistant `docs` of Pulumi.local.yaml answers with quotes from README.md and docs/, which are indexed by the
product's own parser, chunker, embedder and index. The questions are in questions.jsonl; the page that answers a
question decides to which half it belongs. Settings are tuned on the half `tuning` only. For the half `held-out` only
the figures are printed, so that nobody tunes settings to its questions.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml

from bench.kept_vectors import KeptVectors
from serving.assistants.small_talk import is_small_talk
from serving.config import JUDGE, Assistant
from serving.retrieval.chunk import ChunkSettings, chunk
from serving.retrieval.embedders.embedder import Role, Vectors
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.embedders.precomputed import PrecomputedVectors
from serving.retrieval.excerpts.answer_sentences import AnswerSentences
from serving.retrieval.excerpts.for_prompt import for_prompt
from serving.retrieval.excerpts.quote import quotation
from serving.retrieval.fuse import DEPTH, fuse_follow_up
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.parse import parse
from serving.retrieval.relevance import READ_AGAIN, THRESHOLD, SecondEmbedder, relevance, without_subject
from serving.retrieval.types import Attribution, Hit
from serving.retrieval.vectors import chunk_vectors
from tools.environment import CHECKOUT

QUESTIONS = Path(__file__).with_name("questions.jsonl")
TENANT = "bench"
SMALL_TALK, UNANSWERABLE = "small talk", "unanswerable"

THRESHOLDS = sorted({THRESHOLD, *(hundredths / 100 for hundredths in range(18, 51, 4))})

FIRST_WORDS = 60
"""What somebody reads of an answer before they judge it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question that follows those in `before`. `pages` answer it; a correct answer contains one of `answers`."""

    kind: str
    half: str
    question: str
    before: tuple[str, ...]
    pages: tuple[str, ...]
    answers: tuple[str, ...]

    @classmethod
    def load(cls) -> list[Self]:
        documents = map(json.loads, QUESTIONS.read_text(encoding="utf-8").splitlines())
        return [cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}) for d in documents]

    def answered_by(self, text: str) -> bool:
        return any(plain(answer) in plain(text) for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Answer:
    """The assistant's answer; `found` are the best passages of the search, even if their scores are low.

    `relevance` is what the threshold is compared with.
    """

    question: Question
    text: str
    attribution: Attribution
    found: tuple[Hit, ...]
    courteous: bool = False
    relevance: float = 0.0

    @property
    def refused(self) -> bool:
        return not self.courteous and not self.attribution.citations

    @property
    def right(self) -> bool:
        return not self.refused and self.question.answered_by(self.text)

    def right_within(self, words: int) -> bool:
        """Returns whether the first words of the text, without Markdown's marks, contain the answer."""
        return not self.refused and self.question.answered_by(" ".join(plain(self.text).split()[:words]))

    def page_within(self, first: int) -> bool:
        return any(hit.file_name in self.question.pages for hit in self.found[:first])

    def answer_within(self, first: int) -> bool:
        return any(self.question.answered_by(hit.text) for hit in self.found[:first])


class _Precomputed:
    """An embedder whose passages have the vectors of a release, as far as that includes them."""

    def __init__(self, embedder: OnnxEmbedder) -> None:
        self.id, self.dimensions = embedder.id, embedder.dimensions
        self._embedder = embedder
        self._precomputed = PrecomputedVectors(embedder)

    def embed(self, texts: Sequence[str], role: Role) -> Vectors:
        return self._embedder.embed(texts, role) if role == "query" else self._precomputed.embed(texts)


class Documentation:
    """An index of the documentation, and the assistant that answers from it."""

    def __init__(self, folder: str, assistant: Assistant, root: Path = CHECKOUT) -> None:
        self.embedder = OnnxEmbedder()
        self.kept = KeptVectors(_Precomputed(self.embedder), "answers")
        self.judge = OnnxEmbedder(JUDGE)
        self.second = SecondEmbedder(self.judge)
        self.sentences = AnswerSentences(lambda: self.embedder)
        self.assistant = assistant
        settings = ChunkSettings()
        manifest = CollectionManifest(
            self.embedder.id, self.embedder.dimensions, settings.max_tokens, settings.overlap_tokens, "bench"
        )
        self._index = CollectionIndex.open(folder, "docs", manifest, create=True)
        self._index.unrelated = self.embedder.unrelated
        names = list(pages(root))
        for place, name in enumerate(names, 1):
            chunks = chunk(parse((root / name).read_bytes(), name), self.embedder, settings)
            vectors = chunk_vectors(chunks, self.kept)
            self._index.upsert_file(TENANT, name.replace("/", "-"), name, chunks, vectors)
            if place % 10 == 0:
                print(f"{place} of {len(names)} pages", file=sys.stderr)
        self._index.optimize()

    def search(self, question: str, before: str = "", count: int = 10) -> list[Hit]:
        """Returns the chunks that the retrieval replica would find."""
        meant, meant_before = self._meant(question), self._meant(before)
        alone = self._search(question, meant, DEPTH if before else count)
        if not before:
            return alone
        joined = self._search(f"{before}\n{question}", f"{meant_before}\n{meant}", DEPTH)
        return fuse_follow_up(alone, joined)[:count]

    def ask(self, question: Question) -> Answer:
        """Returns what the gateway would answer."""
        if is_small_talk(question.question):
            return Answer(question, self.assistant.small_talk, Attribution((), ()), (), courteous=True)
        before = question.before[-1] if question.before else ""
        asked = question.question
        found = self.search(asked, before)
        meant = [self._meant(asked), *([f"{self._meant(before)}\n{self._meant(asked)}"] if before else [])]
        wanted = max(self.assistant.top_k, READ_AGAIN)
        hits = for_prompt(asked, found[:wanted], self.assistant, self.judge, meant, self.sentences, second=self.second)
        near = relevance(meant[0], found[: self.assistant.top_k])
        if not hits:
            return Answer(question, self.assistant.refusal, Attribution((), ()), tuple(found), relevance=near)
        said = quotation(hits)
        return Answer(question, said.text, said.attribution, tuple(found), relevance=near)

    def _meant(self, question: str) -> str:
        return without_subject(question, self.assistant.description)

    def _search(self, text: str, meant: str, count: int) -> list[Hit]:
        return self._index.search(TENANT, text, self.kept.embed([meant], "query")[0], count)


def plain(text: str) -> str:
    """Returns a text without Markdown's marks for code and emphasis, and with single spaces."""
    return " ".join(text.replace("`", "").replace("**", "").split())


def pages(root: Path = CHECKOUT) -> Iterator[str]:
    """Yields the documents that the assistant reads."""
    yield "README.md"
    yield from sorted(str(path.relative_to(root)) for path in (root / "docs").rglob("*.md"))


def default_assistant() -> Assistant:
    """Returns the assistant of Pulumi.local.yaml, which quotes because its model cannot answer from passages."""
    config = yaml.safe_load((CHECKOUT / "Pulumi.local.yaml").read_text(encoding="utf-8"))["config"]
    return Assistant(**{"unsupported": "quote"} | config["headrace:assistants"][0])


def unsupported(answer: Answer, texts: dict[str, str]) -> int:
    """Returns how many quotes of an answer, and parts of the names of passages, are not literally on their page."""
    return sum(
        plain(c.quote) not in texts[c.file_name]
        and not all(plain(part) in texts[c.file_name] for part in re.split(" [›>] ", c.quote))
        for c in answer.attribution.citations
    )


def report(answers: Sequence[Answer]) -> str:
    """Returns the figures as tables in Markdown."""
    embedded = {name: plain(parse((CHECKOUT / name).read_bytes(), name).text) for name in pages()}
    lines = [
        "| kind | questions | page first | page in three | answer first | answer in three "
        f"| in the first {FIRST_WORDS} words | answered correctly | refused by mistake | mean words |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    asked = [a for a in answers if a.question.pages]
    kinds = list(dict.fromkeys(a.question.kind for a in asked))
    for kind, some in [(k, [a for a in asked if a.question.kind == k]) for k in kinds] + [("all", asked)]:
        figures = (
            sum(a.page_within(1) for a in some),
            sum(a.page_within(3) for a in some),
            sum(a.answer_within(1) for a in some),
            sum(a.answer_within(3) for a in some),
            sum(a.right_within(FIRST_WORDS) for a in some),
            sum(a.right for a in some),
            sum(a.refused for a in some),
            round(statistics.fmean([len(a.text.split()) for a in some if not a.refused] or [0])),
        )
        lines.append(f"| {kind} | {len(some)} | " + " | ".join(map(str, figures)) + " |")
    talk = [a for a in answers if a.question.kind == SMALL_TALK]
    off = [a for a in answers if a.question.kind == UNANSWERABLE]
    lines += [
        "",
        f"- small talk recognised: {sum(a.courteous for a in talk)} of {len(talk)}",
        f"- questions mistaken for small talk: {sum(a.courteous for a in [*asked, *off])} of {len(asked) + len(off)}",
        f"- unanswerable questions answered: {sum(not a.refused and not a.courteous for a in off)} of {len(off)}",
        f"- quotes that are not on their page: {sum(unsupported(a, embedded) for a in answers)} of "
        f"{sum(len(a.attribution.citations) for a in answers)}",
    ]
    return "\n".join(lines)


def curve(answers: Sequence[Answer]) -> str:
    """Returns for thresholds of relevance how many unanswerable questions are answered and how many others refused, as
    a table in Markdown.
    """
    off = [a.relevance for a in answers if a.question.kind == UNANSWERABLE and not a.courteous]
    asked = [a.relevance for a in answers if a.question.pages and not a.courteous]
    lines = ["| threshold | unanswerable answered | refused by mistake |", "| --- | --- | --- |"]
    for threshold in THRESHOLDS:
        answered = sum(near >= threshold for near in off)
        refused = sum(near < threshold for near in asked)
        shown = f"{threshold:.2f}, the default" if threshold == THRESHOLD else f"{threshold:.2f}"
        lines.append(
            f"| {shown} | {answered} of {len(off)} ({answered / max(1, len(off)):.0%}) "
            f"| {refused} of {len(asked)} ({refused / max(1, len(asked)):.0%}) |"
        )
    return "\n".join(lines)


def answer_text(answer: Answer) -> str:
    """Returns a question with its answer as readable text."""
    good = answer.courteous if answer.question.kind == SMALL_TALK else answer.right
    if answer.question.kind == UNANSWERABLE:
        good = answer.refused
    mark = "right" if good else "refused" if answer.refused else "wrong"
    before = f"{answer.question.before[-1]} / " if answer.question.before else ""
    return f"[{mark}] {answer.question.kind}: {before}{answer.question.question}\n{answer.text}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--half", choices=("tuning", "held-out"), default="held-out")
    parser.add_argument("--show", action="store_true", help="also print every answer of the tuning half")
    arguments = parser.parse_args()
    if arguments.show and arguments.half != "tuning":
        parser.error("answers of the held-out half are not shown, since settings must not be tuned to them")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        documentation = Documentation(folder, default_assistant())
        indexed = time.perf_counter()
        answers = [documentation.ask(q) for q in Question.load() if q.half == arguments.half]
        answered = time.perf_counter()
    for answer in answers if arguments.show else ():
        print(answer_text(answer))
    print(f"{len(answers)} questions of the {arguments.half} half: {indexed - began:.0f} s to index the pages,")
    print(f"{answered - indexed:.0f} s to answer\n")
    print(report(answers))
    print(f"\n{curve(answers)}")


if __name__ == "__main__":
    main()
