"""Citations: paraphrases are cited; swapped numbers, names, negations and opposites are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.retrieval import cite
from serving.retrieval.cite import attribute
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.text.words import SentenceWords
from serving.retrieval.types import Citation, Hit, TextSpan

SOURCES = {
    "gateway": (
        "The gateway takes a replica by a lease. "
        "A lease is freed within 100 milliseconds when the client hangs up. "
        "Requests over the queue of 128 get a 429 with a Retry-After header. "
        "The gateway never keeps state that a restart would lose."
    ),
    "store": (
        "On a laptop the relational database is SQLite in WAL mode; in production it is PostgreSQL. "
        "Migrations are run by Alembic. "
        "Message content is stored as typed parts. "
        "Files and indexes live in a data folder or in S3-compatible storage."
    ),
    "llama": (
        "SmolLM2-135M loads in 1.2 seconds and uses 260 MB of memory. "
        "It produces about 85 tokens per second on one thread. "
        "The model must not be run with two threads on a busy machine. "
        "The context window is 8192 tokens by default."
    ),
    "security": (
        "An API key is needed on every data route. "
        "Keys hold 256 random bits and begin with the prefix hr_. "
        "Only a keyed hash of the key is stored. "
        "The API binds the loopback interface by default. "
        "TLS is disabled unless a certificate is configured."
    ),
    "wing": (
        "The experiment measured the lift of a wing in a propeller slipstream. "
        "Lift increased with the velocity of the slipstream at all angles of attack. "
        "At a Mach number of 2.5 the boundary layer was turbulent, and at 1.2 it was laminar. "
        "The tests were made in the Langley wind tunnel in 1957."
    ),
}

SUPPORTED = [
    ("A lease is freed within 100 milliseconds when the client hangs up.", "gateway"),
    ("When the client hangs up, the lease is freed within 100 milliseconds.", "gateway"),
    ("Requests over the queue of 128 receive a 429 with a Retry-After header.", "gateway"),
    ("The gateway takes a replica by a lease.", "gateway"),
    ("The gateway keeps no state that a restart would lose.", "gateway"),
    ("In production the database is PostgreSQL.", "store"),
    ("On a laptop, the relational database is SQLite in WAL mode.", "store"),
    ("Alembic runs the migrations.", "store"),
    ("Message content is stored as typed parts.", "store"),
    ("Files and indexes live in a data folder or S3-compatible storage.", "store"),
    ("SmolLM2-135M loads in 1.2 seconds.", "llama"),
    ("It produces about 85 tokens per second on one thread.", "llama"),
    ("The model should not be run with two threads on a busy machine.", "llama"),
    ("By default the context window is 8192 tokens.", "llama"),
    ("The context window is 8,192 tokens by default.", "llama"),
    ("An API key is needed on every data route.", "security"),
    ("Every data route needs an API key.", "security"),
    ("Keys begin with the prefix `hr_` and hold 256 random bits.", "security"),
    ("Only a keyed hash of the key is stored.", "security"),
    ("By default, the API binds the loopback interface.", "security"),
    ("TLS is disabled unless a certificate is configured.", "security"),
    ("The experiment measured the lift of a wing in a propeller slipstream.", "wing"),
    ("Lift increased with slipstream velocity at all angles of attack.", "wing"),
    ("At a Mach number of 2.5 the boundary layer was turbulent.", "wing"),
    ("At a Mach number of 1.2 the boundary layer was laminar.", "wing"),
    ("The tests were made in 1957 in the Langley wind tunnel.", "wing"),
]

UNSUPPORTED = [
    "A lease is freed within 500 milliseconds when the client hangs up.",
    "A lease is freed within 100 seconds when the client hangs up.",
    "A lease is not freed when the client hangs up.",
    "A lease is never freed within 100 milliseconds when the client hangs up.",
    "Requests over the queue of 256 get a 429 with a Retry-After header.",
    "Requests over the queue of 128 get a 503 with a Retry-After header.",
    "Requests over the queue of 429 get a 128 with a Retry-After header.",
    "The gateway keeps state that a restart would lose.",
    "The gateway takes a replica by a Redis lock.",
    "On a laptop the relational database is PostgreSQL.",
    "In production the database is MySQL.",
    "In production the database is SQLite in WAL mode.",
    "Migrations are run by Flyway.",
    "Migrations are not run by Alembic.",
    "Message content is stored as encrypted parts.",
    "SmolLM2-135M loads in 2.1 seconds.",
    "SmolLM2-135M loads in 1.2 minutes.",
    "SmolLM2-360M loads in 1.2 seconds and uses 260 MB of memory.",
    "The model uses 260 GB of memory.",
    "It produces about 85 tokens per second on two threads.",
    "The model must be run with two threads on a busy machine.",
    "The context window is 4096 tokens by default.",
    "The context window is 8192 characters by default.",
    "No API key is needed on any data route.",
    "An API key is not needed on every data route.",
    "An API key is optional on every data route.",
    "Keys hold 128 random bits and begin with the prefix hr_.",
    "Keys hold 256 random bits and begin with the prefix sk_.",
    "Only a keyed hash of the key is logged.",
    "The API binds all interfaces by default.",
    "The API does not bind the loopback interface by default.",
    "TLS is enabled unless a certificate is configured.",
    "TLS is disabled if a certificate is configured.",
    "Lift decreased with the velocity of the slipstream at all angles of attack.",
    "Lift did not increase with the velocity of the slipstream.",
    "At a Mach number of 2.5 the boundary layer was laminar.",
    "At a Mach number of 1.2 the boundary layer was turbulent.",
    "The tests were made in the Langley wind tunnel in 1975.",
    "The tests were made in 1975 in the Langley wind tunnel.",
    "The tests were made in the Ames wind tunnel in 1957.",
    "The experiment measured the drag of a wing in a propeller slipstream.",
    "The football match was won by Barcelona.",
    "The gateway was written in Rust by a team of twelve engineers.",
    "You can restart the gateway with systemctl restart gateway.",
    "Keys expire after 90 days.",
    "SQLite is faster than PostgreSQL.",
    "The wing was made of aluminium.",
]


def hit(name: str, text: str, start: int = 0) -> Hit:
    return Hit(f"{name}:0", name, f"{name}.md", name.title(), "", text, start, start + len(text), 2, 0.5, 0.5, 1.0)


HITS = [hit(name, text) for name, text in SOURCES.items()]


@pytest.mark.parametrize(("claim", "source"), SUPPORTED)
def test_a_claim_is_supported_by_a_paraphrase(embedder: OnnxEmbedder, claim: str, source: str) -> None:
    found = attribute(claim, HITS, embedder)
    assert [citation.file_id for citation in found.citations] == [source]
    assert found.citations[0].quote in SOURCES[source]
    assert found.unsupported == ()


@pytest.mark.parametrize("claim", UNSUPPORTED)
def test_a_changed_claim_is_unsupported(embedder: OnnxEmbedder, claim: str) -> None:
    found = attribute(claim, HITS, embedder)
    assert found.citations == ()
    assert found.unsupported == (TextSpan(0, len(claim)),)


def test_citations_have_the_positions_of_their_claims(embedder: OnnxEmbedder) -> None:
    text = SOURCES["security"]
    answer = (
        "Sure! Here it is:\n\n- Only a keyed hash of the key is stored.\n- Keys are made of cheese.\n\nAnything else?"
    )
    found = attribute(answer, [hit("security", text, start=1000)], embedder)
    (citation,) = found.citations
    assert answer[citation.start_index : citation.end_index] == "Only a keyed hash of the key is stored."
    assert (citation.file_name, citation.title, citation.position.page) == ("security.md", "Security", 2)
    assert text[citation.position.start - 1000 : citation.position.end - 1000] == citation.quote
    assert citation.quote == "Only a keyed hash of the key is stored."
    assert citation.support > 0.95
    assert [answer[span.start : span.end] for span in found.unsupported] == ["Keys are made of cheese."]


def test_two_consecutive_sentences_can_support_a_claim(embedder: OnnxEmbedder) -> None:
    found = attribute("SmolLM2-135M loads in 1.2 seconds and produces about 85 tokens per second.", HITS, embedder)
    (citation,) = found.citations
    assert citation.quote == SOURCES["llama"].partition(" The model")[0]


def test_code_blocks_contain_no_claims(embedder: OnnxEmbedder) -> None:
    found = attribute("Run this:\n\n```sh\nmake up PORT=9999 --now\n```\n", HITS, embedder)
    assert (found.citations, found.unsupported) == ((), ())


@pytest.mark.parametrize("answer", ["", "   ", "?", "```", "word " * 20_000, "\x00", "1. 2. 3.", "no no no"])
def test_attribution_accepts_any_text(embedder: OnnxEmbedder, answer: str) -> None:
    found = attribute(answer, HITS, embedder)
    assert found.citations == ()
    assert all(0 <= span.start < span.end <= len(answer) for span in found.unsupported)


def test_the_cost_of_an_answer_and_its_hits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each distinct sentence of both is looked at once, and 300 of an answer and 3,000 of the hits at most."""

    class Counting:
        compared = embedded = 0

        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            self.embedded += len(texts)
            return np.full((len(texts), 4), 0.5, np.float32)

    counting = Counting()
    recall = cite._recall

    def counted(claim: SentenceWords, source: cite._Source) -> float:
        counting.compared += 1
        return recall(claim, source)

    monkeypatch.setattr(cite, "_recall", counted)
    same = "Alembic runs migrations. " * 1_000
    found = attribute(same, [hit("store", same)] * 8, counting)
    assert len(found.citations) == 1_000
    assert counting.compared == 2  # the sentence, and two of it in a row
    assert counting.embedded == 2
    answer = " ".join(f"Alembic runs migration {n}." for n in range(400))
    counting.compared = 0
    found = attribute(f"{answer} Alembic runs migration 7.", [hit("store", answer)] * 8, counting)
    assert counting.compared == 300 * 799
    assert [span.start for span in found.unsupported] == [answer.index(f"n {n}.") - 21 for n in range(300, 400)]
    counting.compared = 0
    attribute(answer, [hit(f"store{n}", answer.replace("runs", f"runs v{n}")) for n in range(8)], counting)
    assert counting.compared == 300 * 3_000


@pytest.mark.parametrize(("contradictions", "found"), [(9, 1), (10, 0)])
def test_a_claim_that_ten_sources_contradict_is_unsupported(
    contradictions: int, found: int, embedder: OnnxEmbedder
) -> None:
    """Each holds all of its words, in fewer letters than the one that says the same."""
    against = " ".join(f"Alembic never runs migrations{' ' * n}." for n in range(contradictions))
    texts = [*against.split(". "), "Alembic runs migrations of all the tables."]
    hits = [hit(f"store{n}", text) for n, text in enumerate(texts)]
    assert len(attribute("Alembic runs migrations.", hits, embedder).citations) == found


def test_without_hits_every_claim_is_unsupported() -> None:
    class Unused:
        def embed(self, texts: object) -> NDArray[np.float32]:
            raise AssertionError("nothing needs to be embedded")

    found = attribute("The gateway takes a lease. It is fast, and stores files.", [], Unused())
    no_citations: tuple[Citation, ...] = ()
    assert found.citations == no_citations
    assert len(found.unsupported) == 2
