"""Citations in OpenAI's format (`url_citation`), with additional details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

from serving.retrieval.types import Citation, TextSpan

CitationKind = Literal["url_citation", "file_citation"]
"""OpenAI's kinds of annotations for documents: with a URL, or as in `file_search`."""


def citation_fields(
    citations: Sequence[Citation],
    unsupported: Sequence[TextSpan],
    retrieved: int,
    kind: CitationKind = "url_citation",
) -> dict[str, Any]:
    """Returns the fields of a message beside its text.

    `annotations` is OpenAI's list (character indexes in the answer, title, URL of the file route). `headrace` has what
    OpenAI has no field for: the quote, its position, how well it supports the sentence (0 to 1), and the unsupported
    sentences.
    """
    return {
        "annotations": [{"type": kind, kind: _annotation(c, kind)} for c in citations],
        "headrace": {
            "citations": [
                {
                    "start_index": c.start_index,
                    "end_index": c.end_index,
                    "file_id": c.file_id,
                    "file_name": c.file_name,
                    "title": c.title,
                    "quote": c.quote,
                    "position": {"start": c.position.start, "end": c.position.end, "page": c.position.page},
                    "support": round(c.support, 3),
                }
                for c in citations
            ],
            "unsupported": [{"start_index": s.start, "end_index": s.end} for s in unsupported],
            "retrieved": retrieved,
        },
    }


def _annotation(citation: Citation, kind: CitationKind) -> dict[str, Any]:
    if kind == "file_citation":
        return {"index": citation.end_index, "file_id": citation.file_id, "filename": citation.file_name}
    return {
        "start_index": citation.start_index,
        "end_index": citation.end_index,
        "title": citation.title or citation.file_name,
        # A file in the request itself has no address.
        "url": f"/v1/files/{citation.file_id}/content"
        if citation.file_id
        else f"attachment:{quote(citation.file_name)}",
    }
