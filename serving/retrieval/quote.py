"""Answers made of quotes: the passages of documents about a question, verbatim.

All text is from the documents, so that nothing can be unsupported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.retrieval.passage import passage
from serving.retrieval.types import Attribution, Citation, Hit, Position

if TYPE_CHECKING:  # only the replica has its libraries, and the gateway quotes too
    from serving.retrieval.embedders.onnx import OnnxEmbedder

BEST_SHARE = 0.5
"""Share of the remaining budget for a passage other than the last one: better passages get more text."""

_BLANK = re.compile(r"\n[^\S\n]*\n")
_SENTENCE_END = re.compile(r"[.!?:…。！？][\"'”’)]*\Z")
_CODE = re.compile(r"^[^\S\n]|[{}=;\\$<>]|(?:^|\s)--?[a-z]|[a-z._]/[a-z._]|\A[a-z]+ [a-z-]+\Z", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Quotation:
    """An answer of quotes in Markdown, with a citation for each passage."""

    text: str
    attribution: Attribution


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
    """Returns the answer that quotes `hits`, each below its title and heading."""
    parts: list[str] = []
    citations: list[Citation] = []
    length = 0
    under = None
    for hit in hits:
        body = _markdown(hit)
        if not body:
            continue
        above = _title(hit)
        piece = f"**{above}**\n\n{body}" if above and above != under else body
        start = length + len(piece) - len(body) + (2 if parts else 0)
        parts.append(piece)
        length = start + len(body)
        under = above
        position = Position(hit.start, hit.end, hit.page)
        citations.append(
            Citation(start, length, hit.file_id, hit.file_name, hit.title, hit.text, position, support=1.0)
        )
    return Quotation("\n\n".join(parts), Attribution(tuple(citations), ()))


def _overlap(passage: Hit, other: Hit) -> bool:
    return passage.file_id == other.file_id and passage.start < other.end and other.start < passage.end


def _title(hit: Hit) -> str:
    """Returns title and heading on one line, with markup escaped."""
    return " › ".join(" ".join(part.replace("*", "").split()) for part in (hit.title, hit.heading) if part)


def _markdown(hit: Hit) -> str:
    """Returns a passage without the headings above it, and with code in fences.

    A document's plain text has no fences. A block counts as code when it does not end like a sentence, and is indented
    or contains characters of code.
    """
    headings = {hit.title, *hit.heading.split(" > ")}
    blocks = [block.strip("\n").rstrip() for block in _BLANK.split(hit.text)]
    shown = [block for block in blocks if block.strip() and block.strip() not in headings]
    return "\n\n".join(f"```\n{block}\n```" if _is_code(block) else block.strip() for block in shown)


def _is_code(block: str) -> bool:
    return not _SENTENCE_END.search(block) and "```" not in block and bool(_CODE.search(block)) and " | " not in block
