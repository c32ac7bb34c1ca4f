"""`python -m tools.precomputed_vectors`: writes the vectors of the documentation that are part of a release."""

from __future__ import annotations

import sys

from infra.layout import CHECKOUT
from serving.ingest.source import is_document
from serving.retrieval.chunk import ChunkSettings
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.embedders.precomputed import FILE, write
from serving.retrieval.sandbox import chunk_isolated
from serving.retrieval.vectors import texts_of


def main() -> int:
    """Embeds the documents of the collection `docs` of the example stack."""
    pages = [
        CHECKOUT / "README.md",
        *sorted(p for p in (CHECKOUT / "docs").rglob("*") if p.is_file() and is_document(p.name)),
    ]
    chunks = [chunk for page in pages for chunk in chunk_isolated(page.read_bytes(), page.name, ChunkSettings())[0]]
    bodies, headings = texts_of(chunks)
    count = write(OnnxEmbedder(), [*bodies, *headings])
    print(f"{FILE.relative_to(CHECKOUT)}: {count} vectors of {len(chunks)} chunks, {FILE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
