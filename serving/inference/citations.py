"""Citations as OpenAI clients know them (`url_citation`), and with our own detail beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.retrieval.types import Citation, TextSpan


def citation_fields(citations: Sequence[Citation], unsupported: Sequence[TextSpan], retrieved: int) -> dict[str, Any]:
    """Returns the fields that a message gets beside its text.

    `annotations` is OpenAI's list (character indexes in the answer, title, URL of our file route). `headrace`
    holds what OpenAI has no place for: the quote, where it stands, how well it supports the sentence (0 to 1),
    and the sentences that nothing supports.
    """
    return {
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": c.start_index,
                    "end_index": c.end_index,
                    "title": c.title or c.file_name,
                    "url": f"/v1/files/{c.file_id}/content",
                },
            }
            for c in citations
        ],
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
