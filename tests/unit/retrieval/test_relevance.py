"""The relevance check accepts questions that the documents answer, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from serving.retrieval.embedders.embedder import Role, Vectors
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.relevance import READ_AGAIN, SecondEmbedder, good_enough, judged, without_subject
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
    similarities = embedder.embed(TEXTS) @ embedder.embed([question], "query")[0]
    similarities = (similarities - embedder.unrelated) / (1 - embedder.unrelated)
    return [
        Hit(f"f:{i}", "f", "f.md", "", "", text, 0, len(text), None, 0.5, float(similarity), 0.0)
        for i, (text, similarity) in enumerate(zip(TEXTS, similarities, strict=True))
    ]


@pytest.mark.parametrize("question", ON_TOPIC)
def test_questions_on_topic_are_accepted(of_documents: OnnxEmbedder, question: str) -> None:
    assert good_enough(question, hits(question, of_documents))


@pytest.mark.parametrize("question", OFF_TOPIC)
def test_questions_off_topic_are_rejected(of_documents: OnnxEmbedder, question: str) -> None:
    assert not good_enough(question, hits(question, of_documents))


def test_hits_of_another_embedder_are_judged_with_the_default_one(of_documents: OnnxEmbedder) -> None:
    question = ON_TOPIC[0]
    found = hits(question, of_documents)
    other = [replace(hit, dense_score=0.9) for hit in found]
    again = judged(question, other, of_documents)
    assert [hit.dense_score for hit in again] == pytest.approx([hit.dense_score for hit in found], abs=1e-3)


def test_a_search_without_hits_is_not_relevant() -> None:
    assert not good_enough("anything", [])


@pytest.mark.parametrize(
    ("question", "description", "asked"),
    [
        ("Can Headrace order a pizza?", "Answers questions about Headrace.", "Can order a pizza?"),
        ("What do Headrace's tests need?", "Answers questions about Headrace.", "What do tests need?"),
        ("Tell me what I need for Headrace. Now.", "Knows Headrace.", "Tell me what I need for . Now."),
        ('What is "cannot start Headrace" of Headrace?', "Knows Headrace.", 'What is "cannot start Headrace" of ?'),
        ("What is Headrace?", "Answers questions about Headrace.", "What is Headrace?"),
        ("Is Helm needed for Kubernetes?", "Knows Kubernetes and Helm.", "Is Helm needed for Kubernetes?"),
        ("What is a lease?", "", "What is a lease?"),
    ],
)
def test_the_only_name_of_a_description_is_removed_from_the_question(
    question: str, description: str, asked: str
) -> None:
    assert without_subject(question, description) == asked


@pytest.mark.parametrize(
    ("question", "description"),
    [
        ("Which x-ray machine do we have?", "Answers questions about Ray."),
        ("Which X-Ray machine do we have?", "Answers questions about Ray."),
        ("How do I go back to the old version?", "Helps with Go."),
        ("Run make up  STACK=Headrace now", "Knows Headrace."),
        ("Why does http://Headrace.local/v1 fail?", "Knows Headrace."),
        ("What is Headrace.toml, or Headrace:port?", "Knows Headrace."),
        ('How do I fix "cannot start Headrace"?', "Knows Headrace."),
        ("What does `Headrace up` do?", "Knows Headrace."),
    ],
)
def test_a_name_with_another_meaning_stays_in_the_question(question: str, description: str) -> None:
    assert without_subject(question, description) == question


class Agreeing:
    """Embeds what holds a word as one vector and everything else as another one; the cosine of both is 0."""

    max_tokens = 32

    def __init__(self, word: str) -> None:
        self.word = word
        self.embedded: list[str] = []

    def count_tokens(self, text: str) -> int:
        return len(text)

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        self.embedded += texts
        return np.array([[1, 0] if self.word in text[: self.max_tokens] else [0, 1] for text in texts], np.float32)


def found(*texts: str) -> list[Hit]:
    return [Hit(text, "f", "f.md", "", "", text, 0, 1, None, 1 - at / 10, 0.5, 0.0) for at, text in enumerate(texts)]


def agreed(meant: Sequence[str], hits: Sequence[Hit]) -> str:
    again = SecondEmbedder(cast(OnnxEmbedder, Agreeing("heron"))).read_again(meant, hits)
    assert {hit.text: hit.score for hit in again} == {hit.text: hit.score for hit in hits}  # as the search gave them
    return " ".join(hit.text for hit in again)


def test_the_best_hits_stand_in_the_order_of_both_embedders() -> None:
    assert agreed(["a heron?"], found("eel", "pike", "heron")) == "heron eel pike"  # 0.8 + 0.5 above 1.0
    assert agreed(["a heron?"], found("eel", "1", "2", "3", "4", "heron")) == "eel heron 1 2 3 4"  # 0.5 + 0.5 of 1.0
    below = [f"{n}" for n in range(READ_AGAIN)]
    assert agreed(["a heron?"], found(*below, "heron")) == " ".join([*below, "heron"])
    assert agreed(["a heron?"], found("eel")) == "eel"
    assert agreed(["a heron?"], []) == ""


def test_a_passage_is_embedded_once_and_never_for_another_file() -> None:
    embedder = Agreeing("heron")
    second = SecondEmbedder(cast(OnnxEmbedder, embedder))
    hits = found("eel", "pike", "heron")
    first = second.read_again(["a heron?"], hits)
    embedder.embedded.clear()
    assert second.read_again(["a heron?"], [*hits[::-1], replace(hits[0], text="perch")]) != first
    assert embedder.embedded == ["a heron?", "perch"]
    embedder.embedded.clear()
    second.read_again(["a heron?"], [replace(hit, file_id="g") for hit in hits])
    assert set(embedder.embedded) == {"a heron?", "eel", "pike", "heron"}


def test_a_follow_up_is_read_again_alone_and_behind_the_question_before() -> None:
    hits = found("1", "2", "3", "heron")  # 0.7 + 0.45 / 2 or 0.55 / 2, against 1.0 + 0.55 / 2 or 0.45 / 2
    assert agreed(["and where?", "a heron?\nand where?"], hits) == "1 2 3 heron"
    near = found("1", "heron")  # 0.9 + 0.225 against 1.0 + 0.275, and turned round 0.9 + 0.275 against 1.0 + 0.225
    assert agreed(["and where?", "a heron?\nand where?"], near) == "1 heron"
    long = "an eel, " * 20  # of which the embedder reads the end alone
    assert agreed(["a heron?", f"an eel? {long}\na heron?"], near) == "heron 1"
    assert agreed(["a heron?", f"a heron? {long}\nand where?"], near) == "1 heron"
    close = [near[0], replace(near[1], score=0.97)]
    assert agreed(["a heron?", "an eel\nand where?"], close) == "heron 1"
    assert agreed(["and where?", "a heron?\nand where?"], close) == "1 heron"
