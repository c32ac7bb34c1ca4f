"""A quoted answer is short: the sentences that answer, with what explains them."""

from __future__ import annotations

import pytest

from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.excerpts.answer_sentences import PASSAGES, WORDS, AnswerSentences
from serving.retrieval.excerpts.quote import quotation
from serving.retrieval.excerpts.units import count_words, lists_links
from serving.retrieval.types import Hit

WEATHER = " ".join(f"On day {day} the weather in the hills is mild and dry." for day in range(1, 12))


def hit(text: str, id: str = "a", *, title: str = "Keys", heading: str = "") -> Hit:
    return Hit(id, f"file-{id}", f"{id}.md", title, heading, text, 40, 40 + len(text), None, 0.9, 0.9, 0.0)


@pytest.fixture(scope="module")
def sentences(embedder: OnnxEmbedder) -> AnswerSentences:
    return AnswerSentences(lambda: embedder)


def shown(hits: list[Hit]) -> list[list[str]]:
    return [[each.text[start:end] for start, end in each.answers or ()] for each in hits]


def test_only_the_sentences_that_answer_are_shown(sentences: AnswerSentences) -> None:
    question = "What does a key begin with?"
    found = [hit(f"{WEATHER} The key of {each} begins with hr_{each} always. {WEATHER}", each) for each in "pqrst"]
    chosen = sentences.choose(question, [question], found)
    parts = {each.chunk_id: part for each, part in zip(chosen, shown(chosen), strict=True)}
    assert parts == {
        **{each: [f"The key of {each} begins with hr_{each} always."] for each in "pqr"},
        **{each: [] for each in "st"},
    }
    assert PASSAGES == 3
    assert quotation(chosen).text.count("hr_") == 3


def test_a_sentence_is_shown_once(sentences: AnswerSentences) -> None:
    question = "What does a key begin with?"
    chosen = sentences.choose(question, [question], [hit("A key begins with hr_.", each) for each in "ab"])
    assert shown(chosen) == [["A key begins with hr_."], []]


def test_there_is_a_limit_of_words_for_all_passages(sentences: AnswerSentences) -> None:
    question = "What does a key begin with?"
    long = "A key begins with hr_ and with the letter {} " + "and with a key " * 12 + "too."
    chosen = sentences.choose(question, [question], [hit(long.format(each), each) for each in "abc"])
    counts = [sum(map(count_words, part)) for part in shown(chosen)]
    assert counts == [59, 59, 0]
    assert sum(counts) <= WORDS


def test_a_sentence_longer_than_the_limit_is_cut_between_words(sentences: AnswerSentences) -> None:
    [[piece]] = shown(sentences.choose("key?", ["key?"], [hit("the key is long and " * 60)]))
    assert count_words(piece) == WORDS
    assert not piece.endswith(" ")
    [[piece]] = shown(sentences.choose("鍵は?", ["鍵は?"], [hit("鍵" * 400)]))
    assert len(piece) == WORDS


def test_code_stays_with_the_sentence_that_announces_it(sentences: AnswerSentences) -> None:
    text = f"{WEATHER}\n\nMake a new key with this command:\n\nmake key NAME=mine\n\n{WEATHER}"
    for question in ("Which command makes a new key?", "make key NAME"):
        pieces = shown(sentences.choose(question, [question], [hit(text)]))[0]
        assert "Make a new key with this command:\n\nmake key NAME=mine" in pieces
    long = "\n".join(f"run --step {number} {{}}" for number in range(90))
    question = "Which command makes a new key?"
    [pieces] = shown(sentences.choose(question, [question], [hit(f"Make a new key with this command:\n\n{long}")]))
    assert pieces == ["Make a new key with this command:"]


def test_a_row_stays_with_the_header_of_its_table(sentences: AnswerSentences) -> None:
    rows = [f"{8000 + number} | service number {number}" for number in range(40)]
    text = "\n\n".join(["Nummer | Zweck", *rows, "9090 | the dashboard"])
    question = "On which port does the dashboard listen?"
    pieces = shown(sentences.choose(question, [question], [hit(text, title="Ports")]))[0]
    assert pieces[0].startswith("Nummer | Zweck")
    assert any("9090 | the dashboard" in piece for piece in pieces)
    named = "\n\n".join(f"port: {9000 + number} | what: service {number}" for number in range(40))
    pieces = shown(sentences.choose(question, [question], [hit(f"{named}\n\nport: 9090 | what: the dashboard")]))[0]
    assert any("port: 9090 | what: the dashboard" in piece for piece in pieces)
    assert not any(piece.startswith("port: 9000") for piece in pieces)


def test_a_question_for_a_number_prefers_sentences_with_one(sentences: AnswerSentences) -> None:
    text = "A key is valid for long, as long as its owner wants. A key is valid for 90 days by default."
    for question, first in (("How long is a key valid?", "90 days"), ("Wie lange gilt a key?", "90 days")):
        chosen = sentences.choose(question, [question], [hit(f"{text} {WEATHER}", each) for each in "abc"])
        assert any(first in piece for piece in shown(chosen)[0])


def test_lists_of_links_are_left_out(sentences: AnswerSentences) -> None:
    entries = ["Make a key", "Revoke a key", "Read the log", "Move a stack", "Ask a question"]
    index = hit("\n\n".join(["Documentation", *entries]), "i", title="Documentation")
    page = hit("Run make key, which prints the key once.", title="Make a key")
    question = "How do I make a key?"
    assert [each.chunk_id for each in sentences.choose(question, [question], [index, page])] == ["a"]
    assert [each.chunk_id for each in sentences.choose(question, [question], [index])] == ["i"]
    other = hit("Rope\n\nKnife\n\nFirst aid box\n\nTwo lamps\n\nMap", "k", title="The kit")
    assert not lists_links(other, [other, page])  # short entries alone are no links


def test_vectors_of_sentences_are_computed_once(embedder: OnnxEmbedder) -> None:
    asked: list[str] = []

    class Counting:
        max_tokens, unrelated, count_tokens = embedder.max_tokens, embedder.unrelated, embedder.count_tokens

        def embed(self, texts, role="passage"):
            asked.extend(texts if role == "passage" else ())
            return embedder.embed(texts, role)

    counting = AnswerSentences(lambda: Counting())  # type: ignore[arg-type, return-value]
    for _ in range(2):
        counting.choose("A key?", ["A key?"], [hit("A key is secret. A door is not.")])
    assert asked == ["A key is secret.", "A door is not."]


def test_without_any_sentence_hits_stay_whole(sentences: AnswerSentences) -> None:
    heading = hit("Keys")
    assert sentences.choose("Keys?", ["Keys?"], [heading]) == [heading]
