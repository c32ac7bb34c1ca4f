"""Questions about a text are let through, others are not."""

from __future__ import annotations

import pytest

from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.relevance import good_enough
from serving.retrieval.types import Hit

TEXTS = (
    "The gateway takes a replica by a lease. The lease is freed when the client hangs up or an exception occurs.",
    "Files are parsed, cut into chunks, embedded with MiniLM and indexed in LanceDB for hybrid search.",
    "An API key is needed on every data route. Keys begin with the prefix hr_ and hold 256 random bits.",
    "Prometheus scrapes the exporter on each node. Latency histograms use seconds as their unit.",
)
ON_TOPIC = (
    "When is a lease freed?",
    "How are files embedded?",
    "how long are api keys",
    "What prefix do keys have?",
    "hybrid search",
    "Who scrapes metrics?",
    "What unit do latency histograms have?",
    "How are documents indexed?",
)
OFF_TOPIC = (
    "Who won the football match yesterday?",
    "What were last night's premier league results?",
    "How do I bake sourdough bread?",
    "What is the capital of Mongolia?",
    "Recommend a restaurant in Rome",
    "How far away is the moon?",
    "When do cherry trees blossom in Japan?",
    "Who wrote Pride and Prejudice?",
    "Is my cat overweight?",
    "Explain the offside rule",
    "What should I wear to a wedding?",
    "How many people live in Berlin?",
)


def hits(question: str, embedder: OnnxEmbedder) -> list[Hit]:
    vector, *vectors = embedder.embed([question, *TEXTS])
    return [
        Hit(f"f:{i}", "f", "f.md", "", "", text, 0, len(text), None, 0.5, float(other @ vector), 0.0)
        for i, (text, other) in enumerate(zip(TEXTS, vectors, strict=True))
    ]


@pytest.mark.parametrize("question", ON_TOPIC)
def test_on_topic(embedder: OnnxEmbedder, question: str) -> None:
    assert good_enough(question, hits(question, embedder))


@pytest.mark.parametrize("question", OFF_TOPIC)
def test_off_topic(embedder: OnnxEmbedder, question: str) -> None:
    assert not good_enough(question, hits(question, embedder))


def test_no_hits_are_not_good_enough() -> None:
    assert not good_enough("anything", [])
