"""Answers made of quotes: the sentences of documents that answer a question, verbatim, each above its source.

All text is from the documents, so that nothing can be unsupported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from serving.retrieval.excerpts.passage import passage
from serving.retrieval.excerpts.units import blocks, is_code, units
from serving.retrieval.text.sentences import sentence_spans
from serving.retrieval.types import Attribution, Citation, Hit, Position

if TYPE_CHECKING:  # only the replica has its libraries, and the gateway quotes too
    from serving.retrieval.embedders.onnx import OnnxEmbedder

BEST_SHARE = 0.5
"""Share of the remaining budget for a passage other than the last one: better passages get more text."""


ITEM = "- "
"""What precedes the name of a passage in its line."""


@dataclass(frozen=True, slots=True)
class Quotation:
    """An answer of quotes in Markdown, with a citation for each piece of a passage and for each line of `names`.

    Such a line names a passage, and `sources` are the lines below pieces.
    """

    text: str
    attribution: Attribution
    sources: frozenset[str]
    names: Mapping[str, Citation]

    def cited_again(self, text: str, found: Attribution) -> Attribution:
        """Returns what was found for a text that a guardrail made of this one; its names and sources claim nothing."""
        lines: list[tuple[int, int]] = []
        named: list[Citation] = []
        at = 0
        for line in text.splitlines(keepends=True):
            said, end = line.rstrip("\n"), at + len(line.rstrip("\n"))
            if (name := self.names.get(said)) is not None:
                named.append(replace(name, start_index=at + len(ITEM), end_index=end))
            if name is not None or said in self.sources:
                lines.append((at, end))
            at += len(line)
        cited = [c for c in found.citations if not _inside(c.start_index, c.end_index, lines)]
        unsupported = [span for span in found.unsupported if not _inside(span.start, span.end, lines)]
        return Attribution((*cited, *named), tuple(unsupported))


def passages(budget: int, hits: Sequence[Hit], question: str, embedder: OnnxEmbedder) -> list[Hit]:
    """Returns the passages to quote within `budget` tokens, best first: of each hit the part nearest to the question.

    A passage that is contained in another one is omitted. If there are hits, there is at least one passage.
    """
    chosen: list[Hit] = []
    left = budget
    for place, hit in enumerate(hits):
        share = int(left * BEST_SHARE) if place < len(hits) - 1 else left
        cut = hit if embedder.count_tokens(hit.text) <= share else passage(hit, share, question, embedder)
        cost = embedder.count_tokens(cut.text)
        if chosen and (cost > left or any(_overlap(cut, other) for other in chosen)):
            continue
        chosen.append(cut)
        left -= cost
    return chosen


def quotation(hits: Sequence[Hit]) -> Quotation:
    """Returns the answer that quotes the `answers` of `hits`, each piece above its source, and then names the other
    hits, one on each line.

    Each piece has a citation that opens it, and each line one that opens the passage. The quote of the latter is only
    what the line says, because guardrails check what is shown.
    """
    written = _Written()
    sources: set[str] = set()
    names: dict[str, Citation] = {}
    answering = [(hit, pieces) for hit in hits if (pieces := _pieces(hit))]
    for place, (hit, pieces) in enumerate(answering):
        for (start, end), origin, shown in pieces:
            written.cite(shown, hit, origin, hit.text[start:end])
        following = _source(answering[place + 1][0]) if place + 1 < len(answering) else None
        if (source := _source(hit)) != following:
            written.add(f"— {source}")
            sources.add(f"— {source}")
    named = {_source(hit) for hit, _ in answering}
    gap = "\n\n"
    for hit in hits:
        if _answers(hit) != () or (source := _source(hit)) in named or not any(blocks(hit)):
            continue
        names[ITEM + source] = written.cite(source, hit, (0, hit.end - hit.start), source, before=gap + ITEM)
        named.add(source)
        gap = "\n"
    return Quotation("".join(written.parts), Attribution(tuple(written.citations), ()), frozenset(sources), names)


def with_text(hit: Hit, text: str) -> Hit:
    """Returns a hit with another text, such as one without secrets, whose `answers` are those of the same sentences,
    and whose `origins` are where these stand in the document.
    """
    if not (answers := _answers(hit)):
        return replace(hit, text=text, answers=answers)
    old, new = ([(each[start:end], start, end) for start, end in sentence_spans(each)] for each in (hit.text, text))
    matcher = SequenceMatcher(None, [part for part, _, _ in old], [part for part, _, _ in new], autojunk=False)
    pairs: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for _, i, j, k, m in matcher.get_opcodes():
        if j - i == m - k:  # also of changed sentences each stands for one
            pairs += [((at, at + 1), (k + at - i, k + at - i + 1)) for at in range(i, j)]
        elif j > i and m > k:
            pairs.append(((i, j), (k, m)))
    kept: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for (first, last), (begin, end) in pairs:
        if not any(start < old[at][2] and old[at][1] < stop for start, stop in answers for at in range(first, last)):
            continue
        if kept and kept[-1][0][1] == first and kept[-1][1][1] == begin:  # neighbours are one piece
            first, begin = kept[-1][0][0], kept.pop()[1][0]
        kept.append(((first, last), (begin, end)))
    return replace(
        hit,
        text=text,
        answers=tuple((new[begin][1], new[end - 1][2]) for _, (begin, end) in kept),
        origins=tuple((old[first][1], old[last - 1][2]) for (first, last), _ in kept),
    )


@dataclass(slots=True)
class _Written:
    """The text so far, and its citations."""

    parts: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    length: int = 0

    def add(self, text: str, before: str = "\n\n") -> None:
        before = before if self.parts else before.lstrip("\n")
        self.parts.append(before + text)
        self.length += len(before) + len(text)

    def cite(self, text: str, hit: Hit, origin: tuple[int, int], quote: str, before: str = "\n\n") -> Citation:
        """Adds a text, which stands for the characters `origin` of the document from the hit's start on."""
        self.add(text, before)
        position = Position(hit.start + origin[0], hit.start + origin[1], hit.page)
        at = self.length - len(text)
        self.citations.append(
            Citation(at, self.length, hit.file_id, hit.file_name, hit.title, quote, position, support=1.0)
        )
        return self.citations[-1]


def _answers(hit: Hit) -> tuple[tuple[int, int], ...] | None:
    # A replica of the previous release sends hits without this field, and means all of their text.
    return getattr(hit, "answers", None)


def _pieces(hit: Hit) -> list[tuple[tuple[int, int], tuple[int, int], str]]:
    """Returns the characters of a passage to show, those of the document that they stand for, and their Markdown."""
    answers, whole = _answers(hit), (0, len(hit.text))
    spans = (whole,) if answers is None else answers
    origins = getattr(hit, "origins", None) or (((0, hit.end - hit.start),) if spans == (whole,) else spans)
    found = [(span, origin, _markdown(hit, *span)) for span, origin in zip(spans, origins, strict=True)]
    # A sentence or a block of code that alone has too many words ends where these do.
    cut = {end for _, end in spans for unit in units(hit) if unit.start < end < unit.end} if origins is spans else ()
    return [(span, origin, f"{shown}\n\n…" if span[1] in cut else shown) for span, origin, shown in found if shown]


def _inside(start: int, end: int, lines: Sequence[tuple[int, int]]) -> bool:
    return any(left <= start and end <= right for left, right in lines)


def _overlap(passage: Hit, other: Hit) -> bool:
    return passage.file_id == other.file_id and passage.start < other.end and other.start < passage.end


def _source(hit: Hit) -> str:
    """Returns title and heading on one line, with markup escaped; without both, the file's name."""
    parts = [part for part in (hit.title, hit.heading) if part] or [hit.file_name]
    return " › ".join(" ".join(part.replace("*", "").split()) for part in parts)


def _markdown(hit: Hit, start: int, end: int) -> str:
    """Returns a part of a passage without the headings above it, and with code in fences."""
    found = [hit.text[left:right] for left, right in blocks(hit, start, end)]
    return "\n\n".join(f"```\n{block}\n```" if is_code(block) else block.strip() for block in found)
