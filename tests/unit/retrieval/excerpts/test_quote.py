"""Quotes say what documents say, in Markdown that reads well, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serving.config import Assistant
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.excerpts.answer_sentences import AnswerSentences
from serving.retrieval.excerpts.for_prompt import for_prompt
from serving.retrieval.excerpts.quote import passages, quotation, with_text
from serving.retrieval.relevance import SecondEmbedder
from serving.retrieval.types import Attribution, Hit, TextSpan

KEY = "Replace the key\n\nDelete the file of the key and run make up: it makes a new key.\n\nrm secrets/key\nmake up"
PARTS = ("Call [somebody].", "— Keys", "Doors")
TABLE = "port | what listens\n\n8080 | the API\n\nconfig:\n  headrace:ports:\n    api: 8080"


def hit(text: str, *, heading: str = "", title: str = "Keys", id: str = "a", start: int = 0, dense: float = 0.9) -> Hit:
    return Hit(id, f"file-{id}", f"{id}.md", title, heading, text, start, start + len(text), None, 0.9, dense, 0.0)


def test_passages_stand_above_their_sources_with_code_in_fences() -> None:
    said = quotation([hit(KEY, heading="Replace the key"), hit(TABLE, id="b", title="Ports *in* use")])
    assert said.text == (
        "Delete the file of the key and run make up: it makes a new key.\n\n```\nrm secrets/key\nmake up\n```\n\n"
        "— Keys › Replace the key\n\nport | what listens\n\n8080 | the API\n\n"
        "```\nconfig:\n  headrace:ports:\n    api: 8080\n```\n\n— Ports in use"
    )


def test_each_passage_is_cited_where_it_stands() -> None:
    hits = [hit(KEY, heading="Replace the key"), hit("A key has 256 bits.", heading="Replace the key", start=700)]
    said = quotation(hits)
    assert said.text.count("—") == 1  # the source of both
    assert said.attribution.unsupported == ()
    first, second = said.attribution.citations
    assert said.text[first.start_index : first.end_index].startswith("Delete the file")
    assert said.text[second.start_index : second.end_index] == second.quote == "A key has 256 bits."
    assert (second.file_id, second.position.start, second.position.end, second.support) == ("file-a", 700, 719, 1.0)
    assert first.end_index < second.start_index


def test_a_passage_of_headings_alone_is_left_out() -> None:
    said = quotation(
        [hit("Keys"), hit("A key has 256 bits."), replace(hit("Doors", id="b", title="Doors"), answers=())]
    )
    assert said.text == "A key has 256 bits.\n\n— Keys"
    assert len(said.attribution.citations) == 1


def test_each_piece_and_each_line_has_a_citation_that_opens_it() -> None:
    text = "A key has 256 bits. It is secret. It begins with hr_."
    first = replace(hit(text, heading="Form", start=100), answers=((0, 19), (34, 53)))
    lines = [hit("A door has a lock.", id=name, title=name.upper(), start=50) for name in ("b", "c", "b")]
    said = quotation([first, *(replace(line, answers=()) for line in lines)])
    assert said.text == "A key has 256 bits.\n\nIt begins with hr_.\n\n— Keys › Form\n\n- B\n- C"
    cited = [said.text[c.start_index : c.end_index] for c in said.attribution.citations]
    assert cited == ["A key has 256 bits.", "It begins with hr_.", "B", "C"]
    assert [(c.quote, c.position.start, c.position.end) for c in said.attribution.citations] == [
        ("A key has 256 bits.", 100, 119),
        ("It begins with hr_.", 134, 153),
        ("B", 50, 68),
        ("C", 50, 68),
    ]


def test_a_redacted_passage_still_shows_the_sentences_that_answer() -> None:
    text = "Call Ann Lee at +49 30 1234567. The key is secret. Keep it."
    shown = replace(hit(text), answers=((0, 31), (51, 59)))
    said = quotation([with_text(shown, text.replace("+49 30 1234567", "[phone]"))])
    assert said.text == "Call Ann Lee at [phone].\n\nKeep it.\n\n— Keys"
    # The citations open the document, which has the number.
    positions = [(c.position.start - shown.start, c.position.end - shown.start) for c in said.attribution.citations]
    assert positions == [(0, 31), (51, 59)]
    assert with_text(shown, "[removed]").answers == ((0, 9),)
    assert with_text(replace(shown, answers=()), "[removed]").answers == ()
    assert with_text(replace(shown, answers=None), "[removed]").answers is None


def test_of_redacted_neighbours_only_those_that_answer_are_shown() -> None:
    text = "Ann has +49 30 1234567. Bob has +49 30 7654321. Cem has +49 30 1111111. Ask Ann."
    shown = replace(hit(text), answers=((24, 47),))
    for number in ("+49 30 1234567", "+49 30 7654321", "+49 30 1111111"):
        text = text.replace(number, "[phone]")
    said = quotation([with_text(shown, text)])
    assert said.text == "Bob has [phone].\n\n— Keys"
    [cited] = said.attribution.citations
    assert (cited.position.start - shown.start, cited.position.end - shown.start) == (24, 47)


def test_a_sentence_that_was_cut_says_so() -> None:
    text = "A key that nobody may read is kept. It ends."
    said = quotation([replace(hit(text), answers=((0, 21),))])
    assert said.text == "A key that nobody may\n\n…\n\n— Keys"


def test_names_and_sources_claim_nothing_after_a_guardrail_has_changed_the_text() -> None:
    hits = [hit("Call Ann. It is secret."), replace(hit("A door.", id="b", title="Doors"), answers=())]
    said = quotation(hits)
    assert said.text == "Call Ann. It is secret.\n\n— Keys\n\n- Doors"
    text = said.text.replace("Ann", "[somebody]")
    call, source, name = (TextSpan(text.index(part), text.index(part) + len(part)) for part in PARTS)
    secret = replace(said.attribution.citations[0], start_index=17, end_index=30)
    found = said.cited_again(text, Attribution((secret,), (call, source, name)))
    assert found.unsupported == (call,)
    assert [text[c.start_index : c.end_index] for c in found.citations] == ["It is secret.", "Doors"]
    whole = replace(secret, start_index=0, end_index=len(text))
    assert said.cited_again(text, Attribution((whole,), ())).citations[0] == whole


def test_hits_of_the_previous_release_are_quoted_whole() -> None:
    old = object.__new__(Hit)
    for name in Hit.__slots__:
        if name != "answers":
            object.__setattr__(old, name, getattr(hit("A key has 256 bits. It is secret."), name))
    assert quotation([old]).text == "A key has 256 bits. It is secret.\n\n— Keys"


def test_passages_fit_the_budget_and_do_not_overlap(embedder: OnnxEmbedder) -> None:
    filler = " ".join(f"Sentence {i} is about the weather in the hills." for i in range(20))
    long = hit(f"{filler} A key begins with hr_ and is secret. {filler}")
    again = replace(long, chunk_id="again")
    other = hit("Keys are revoked by admins.", id="b")
    chosen = passages(120, [long, again, other], "What does a key begin with?", embedder)
    assert "A key begins with hr_" in chosen[0].text
    assert [h.chunk_id for h in chosen] == ["a", "b"]
    assert long.text[chosen[0].start : chosen[0].end] == chosen[0].text
    assert sum(embedder.count_tokens(h.text) for h in chosen) <= 120


def test_irrelevant_passages_do_not_replace_the_one_that_is_relevant(
    embedder: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = SecondEmbedder(embedder)
    monkeypatch.setattr(second, "read_again", lambda meant, hits: [*hits][::-1])
    quoting = Assistant(name="docs", model="m", knowledge=("docs",), unsupported="quote", top_k=1)
    hits = [hit("A key begins with hr_."), replace(hit("The weather is fine.", id="b"), dense_score=0.0)]
    question = "What does a key begin with?"
    assert [
        h.chunk_id
        for h in for_prompt(
            question, hits, quoting, embedder, [question], AnswerSentences(lambda: embedder), second=second
        )
    ] == ["a"]


def test_an_assistant_that_quotes_is_given_passages(embedder: OnnxEmbedder) -> None:
    sentences = AnswerSentences(lambda: embedder)
    assistant = Assistant(name="docs", model="m", knowledge=("docs",), context_tokens=400)
    hits = [hit("A key begins with hr_."), hit("A key begins with hr_. It is secret.", id="b")]
    question = "What does a key begin with?"
    for kind, count in (("mark", 2), ("quote", 2)):
        found = for_prompt(
            question, hits, assistant.model_copy(update={"unsupported": kind}), embedder, [question], sentences
        )
        assert len(found) == count
    off = [replace(h, dense_score=0.0) for h in hits]
    other = "Who won the cup?"
    assert (
        for_prompt(other, off, assistant.model_copy(update={"unsupported": "quote"}), embedder, [other], sentences)
        == []
    )
