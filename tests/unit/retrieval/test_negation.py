"""A sentence that says the opposite never supports a claim, in English, German and French."""

from __future__ import annotations

from itertools import product

from serving.retrieval.cite import attribute
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.types import Hit

ENGLISH = (
    ("The gateway", "The replica", "The exporter", "A worker", "The first node"),
    (
        ("keeps the key of a caller", "does not keep the key of a caller"),
        ("is started again after a crash", "is not started again after a crash"),
        ("can read documents of tenants", "cannot read documents of tenants"),
        ("writes its state into the database", "never writes its state into the database"),
        ("answers with a password", "answers without a password"),
    ),
)
GERMAN = (
    ("Das Gateway", "Der Arbeiter", "Die Datenbank", "Ein Knoten", "Der erste Server"),
    (
        ("speichert den Schlüssel des Nutzers", "speichert den Schlüssel des Nutzers nicht"),
        ("wird nach einem Absturz neu gestartet", "wird nach einem Absturz nie neu gestartet"),
        ("liest Dokumente anderer Mandanten", "liest keine Dokumente anderer Mandanten"),
        ("antwortet mit einem Passwort", "antwortet ohne ein Passwort"),
        ("schreibt seinen Zustand auf die Platte", "schreibt seinen Zustand niemals auf die Platte"),
    ),
)
FRENCH = (
    ("La passerelle", "Le serveur", "La réplique", "Un noeud", "Le premier service"),
    (
        ("garde la clé du client", "ne garde pas la clé du client"),
        ("est redémarré après une panne", "n'est jamais redémarré après une panne"),
        ("lit les documents du groupe", "ne lit aucun des documents du groupe"),
        ("répond avec un mot de passe", "répond sans un mot de passe"),
        ("écrit son état dans la base", "n’écrit pas son état dans la base"),
    ),
)
PAIRS = [
    (f"{subject} {says}.", f"{subject} {denies}.")
    for subjects, predicates in (ENGLISH, GERMAN, FRENCH)
    for subject, (says, denies) in product(subjects, predicates)
]


def hit(text: str) -> Hit:
    return Hit("f:0", "f", "f.md", "", "", text, 0, len(text), None, 0.9, 0.9, 0.0)


def test_a_negated_sentence_does_not_support_a_claim(embedder: OnnxEmbedder) -> None:
    cited = [
        (claim, source)
        for pair in PAIRS
        for claim, source in (pair, pair[::-1])
        if attribute(claim, [hit(source)], embedder).citations
    ]
    assert len(PAIRS) * 2 == 150
    assert cited == []


def test_a_sentence_of_the_same_meaning_supports_a_claim(embedder: OnnxEmbedder) -> None:
    said = [sentence for pair in PAIRS[::5] for sentence in pair]
    missing = [text for text in said if not attribute(text, [hit(text)], embedder).citations]
    assert missing == []
