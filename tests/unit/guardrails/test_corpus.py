"""Precision and recall of each check over the corpus; the figures are those of docs/explanation/guardrails.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serving.config import PiiGuardrail
from serving.guardrails.rules.injection import Injection
from serving.guardrails.rules.links import Links
from serving.guardrails.rules.pii import PersonalInformation
from serving.guardrails.rules.secrets import Secrets
from tests.unit.guardrails import corpus

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "guardrails.md"
PII = PiiGuardrail()
CASES = {
    "injection": (
        Injection(),
        corpus.lines("injection-attacks.txt"),
        corpus.lines("injection-benign.txt"),
        (0.93, 0.95),
    ),
    "secrets": (Secrets(), corpus.SECRETS, corpus.NO_SECRETS, (0.93, 0.96)),
    "pii": (PersonalInformation(PII.kinds), corpus.PII, corpus.NO_PII, (0.92, 0.96)),
    "links": (Links(("ok.example", "*.ok2.example"), 128), corpus.LINKS, corpus.NO_LINKS, (0.93, 0.96)),
}


@pytest.mark.parametrize("name", CASES)
def test_checks_reach_their_precision_and_recall(name):
    check, bad, good, (least_recall, least_precision) = CASES[name]
    missed = [text for text in bad if not check.find(text)]
    wrong = [text for text in good if check.find(text)]
    hits = len(bad) - len(missed)
    recall, precision = hits / len(bad), hits / (hits + len(wrong))
    figures = f"| `{name}` | {len(bad)} | {len(good)} | {precision:.3f} | {recall:.3f} |"
    print(figures, *(f"  missed: {t!r}" for t in missed), *(f"  wrong: {t!r}" for t in wrong), sep="\n")
    assert recall >= least_recall
    assert precision >= least_precision
    assert figures in PAGE.read_text(encoding="utf-8")


def test_the_corpus_is_large_without_duplicates():
    bad, good = CASES["injection"][1:3]
    assert len(set(bad)) == len(bad) >= 150
    assert len(set(good)) == len(good) >= 150
    assert not set(bad) & set(good)


@pytest.mark.parametrize("name", CASES)
def test_findings_are_within_the_text(name):
    check, bad, _, _ = CASES[name]
    for text in bad:
        for finding in check.find(text):
            assert 0 <= finding.begins <= finding.start < finding.end <= len(text)
            assert re.fullmatch(r"[a-z0-9_]+", finding.kind)
