"""Excerpts within a budget of tokens."""

from __future__ import annotations

from serving.retrieval.excerpts.passage import passage, within
from serving.retrieval.types import Hit

TEXT = (
    "The harbour of Brenna has a gate. The gate opens at the fourth hour after low tide. "
    "A red lantern shows that it is shut. Bread is baked on Mondays. The church has two bells."
)
QUESTION = "When does the gate open?"
SENTENCE = "The gate opens at the fourth hour after low tide."


def hit(text=TEXT, start=0):
    return Hit("c", "f", "a.md", "A", "", text, start, start + len(text), None, 1.0, 1.0, 1.0)


def test_hits_that_fit_stay_whole_and_in_order(embedder):
    hits = [hit(), hit("Short.")]
    assert within(200, hits, QUESTION, embedder) == hits


def test_a_hit_that_no_longer_fits_is_left_out_and_a_smaller_one_taken(embedder):
    small = hit("Short.")
    budget = embedder.count_tokens(TEXT) + 5
    assert within(budget, [hit(), hit(), small], QUESTION, embedder) == [hit(), small]


def test_a_best_hit_over_the_budget_is_cut_to_its_best_passage(embedder):
    (found,) = within(14, [hit(start=100), hit("Short.")], QUESTION, embedder)
    assert found.text == SENTENCE
    assert (found.start, found.end) == (100 + TEXT.index(SENTENCE), 100 + TEXT.index(SENTENCE) + len(SENTENCE))


def test_a_passage_grows_forwards_first_then_backwards(embedder):
    follows = "A red lantern shows that it is shut."
    assert passage(hit(), 24, QUESTION, embedder).text == f"{SENTENCE} {follows}"
    for budget in range(1, 80):
        found = passage(hit(), budget, QUESTION, embedder)
        assert SENTENCE in found.text
        assert found.text == SENTENCE or embedder.count_tokens(found.text) <= budget
        assert TEXT[found.start : found.end] == found.text
    assert passage(hit(), 500, QUESTION, embedder).text == TEXT


def test_one_sentence_stays_however_long(embedder):
    endless = "the gate opens " * 60
    assert passage(hit(endless), 10, QUESTION, embedder).text == endless.strip()
