"""Chunks stay within their budget, slice back to the text and cover it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.chunk import ChunkSettings, chunk, extraction
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.parse import parse
from serving.retrieval.parsers.table import add_table
from serving.retrieval.types import CELLS, Document, Extraction

SMALL = ChunkSettings(max_tokens=100, overlap_tokens=20)
WORDS = st.sampled_from(
    ["the", "gateway", "relays", "bytes.", "x" * 150, "a.b.c.d", "naïve", "東京都", "\u200b", "😀", "1,000"]
)
PARAGRAPHS = st.lists(st.lists(WORDS, min_size=1, max_size=150).map(" ".join), min_size=1, max_size=6)


def check(document: Document, embedder: OnnxEmbedder, budget: ChunkSettings) -> None:
    chunks = chunk(document, embedder, budget)
    end = 0
    for position, found in enumerate(chunks):
        assert found.ordinal == position
        assert document.text[found.start : found.end] == found.text
        assert embedder.count_tokens(found.text) <= budget.max_tokens
        assert embedder.count_tokens(found.body) + 2 <= embedder.max_tokens
        assert not document.text[end : found.start].strip(), "text between two chunks is lost"
        assert found.end > end
        end = found.end
    assert end == len(document.text)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(paragraphs=PARAGRAPHS, levels=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_chunks_fit_the_budget_and_cover_the_text(
    embedder: OnnxEmbedder, paragraphs: list[str], levels: list[int]
) -> None:
    builder = DocumentBuilder("text", ChunkBounds())
    for paragraph, level in zip(paragraphs, levels, strict=False):
        if level:
            builder.heading(paragraph[:80], level)
        builder.add(paragraph)
    check(builder.build("name"), embedder, SMALL)


def test_cells_of_a_table_row_stay_with_their_names(embedder: OnnxEmbedder) -> None:
    """A row of several sentences is in one chunk; one that exceeds the budget is divided between its cells."""
    duty, sentence = (
        "Boats of class {} wait below gate {} for the keeper's call.",
        "Part {} of cell {} is a long one here.",
    )
    short = [[f"Rule {n}", " ".join(duty.format(n, m) for m in range(4)), str(n)] for n in range(9)]
    long = [
        [f"Case {n}", *(f"{sentence.format(n, m)} Another follows it. It goes on." for m in range(12))] for n in (1, 2)
    ]
    builder = DocumentBuilder("csv", ChunkBounds())
    for rows in (short, long):
        add_table(builder, rows, header=[f"Name {m}" for m in range(len(rows[0]))])
    document = builder.build("name")
    check(document, embedder, SMALL)
    texts = [found.text for found in chunk(document, embedder, SMALL)]
    for row in short:
        cells = CELLS.join(f"Name {m}: {cell}" for m, cell in enumerate(row))
        assert any(cells in text for text in texts)
    for row in long:
        for m, cell in enumerate(row):
            assert any(f"Name {m}: {cell}" in text for text in texts)


def test_text_that_is_in_no_chunk_is_counted(embedder: OnnxEmbedder) -> None:
    document = replace(parse("The gate\u00a0is open. ".encode() * 400, "a.txt"), unreadable=7, unread_pages=2)
    chunks = chunk(document, embedder, SMALL)
    assert len(chunks) > 3
    assert extraction(document, chunks) == Extraction(400 * 14 + 7, 400 * 14, 2)
    lost = len(chunks[-1].text.replace(" ", "").replace("\u00a0", "")) - len(
        document.text[chunks[-1].start : chunks[-2].end].replace(" ", "").replace("\u00a0", "")
    )
    assert extraction(document, chunks[:-1]).characters_in_chunks == 400 * 14 - lost
    other = replace(chunks[0], text="x" * len(chunks[0].text))
    assert extraction(document, [other]).characters_in_chunks == 0


@pytest.mark.parametrize(
    "paragraph", ["\u00ad\n\n", "\u0301\n\n", "x" * 150 + "\n\n"], ids=["hyphens", "accents", "words"]
)
def test_the_total_length_of_chunks_is_bounded(embedder: OnnxEmbedder, paragraph: str) -> None:
    """Soft hyphens and combining accents count no tokens, so the token budget alone does not bound their repetition."""
    document = parse((paragraph * 2500).encode(), "a.txt")
    check(document, embedder, ChunkSettings())
    chunks = chunk(document, embedder, ChunkSettings())
    assert sum(len(found.text) for found in chunks) < 3 * len(document.text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "a" * 99 + "." + "b-c." * 5_000,
        "word " * 5_000,
        "東" * 3_000,
        "\u200b" * 50_000 + "end",
        "ab-c " * 24_000,
    ],
    ids=["one word", "no spaces", "no sentences", "no spaces in Japanese", "no tokens", "over what is read together"],
)
def test_unbroken_text_is_cut(embedder: OnnxEmbedder, text: str) -> None:
    check(parse(text.encode(), "a.txt"), embedder, SMALL)


def test_chunks_follow_the_structure_of_the_document(embedder: OnnxEmbedder) -> None:
    document = parse(b"# Guide\n\n## Ports\n\nThe API has 8080.\n\n## Keys\n\nKeys begin with hr.\n", "a.md")
    found = [(c.title, c.heading, c.text) for c in chunk(document, embedder, ChunkSettings())]
    assert found == [
        ("Guide", "Ports", "Guide\n\nPorts\n\nThe API has 8080."),
        ("Guide", "Keys", "Keys\n\nKeys begin with hr."),
    ]


def test_neighbours_overlap_by_whole_sentences(embedder: OnnxEmbedder) -> None:
    text = " ".join(f"Sentence number {i} says something about gateways." for i in range(60))
    document = parse(text.encode(), "a.txt")
    first, second, *_ = chunk(document, embedder, SMALL)
    shared = document.text[second.start : first.end]
    assert shared.startswith("Sentence number")
    assert 0 < embedder.count_tokens(shared) <= SMALL.overlap_tokens


def test_openai_settings_are_capped_to_the_embedder(embedder: OnnxEmbedder) -> None:
    assert ChunkSettings.static(800, 400, embedder.max_tokens) == ChunkSettings(206, 103)
    assert ChunkSettings.static(100, 0, embedder.max_tokens) == ChunkSettings(100, 0)
    with pytest.raises(ValueError, match="overlap_tokens"):
        ChunkSettings(100, 60)
