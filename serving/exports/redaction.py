"""Removes personal data and secrets from texts, by Presidio with recognisers of patterns and checksums alone.

No model is loaded and nothing is asked of a network, so names and addresses of people are not found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
)
from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import RecognizerResult

from serving.exports.completion import Completion, Message, Rating
from serving.exports.manifest import Redaction

# Presidio's own recogniser of addresses asks the network for a list of domains.
EMAILS = {"address": r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}(?![\w-])"}
URLS = {"credentials": r"\b[a-z][a-z0-9+.-]{1,31}://[^\s/@:]{0,256}:[^\s/@]{1,256}@[^\s\"'<>]{1,2048}"}
SECRETS = {
    "Headrace": r"hr_[A-Za-z0-9_-]{43}",
    "OpenAI": r"(?<![\w-])sk-[A-Za-z0-9_-]{20,256}",
    "Hugging Face": r"(?<!\w)hf_[A-Za-z0-9]{30,64}(?!\w)",
    "GitHub": r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})(?!\w)",
    "GitLab": r"(?<![\w-])glpat-[A-Za-z0-9_-]{20,64}",
    "Slack": r"(?<![\w-])xox[abeoprs]-[A-Za-z0-9-]{10,255}",
    "AWS": r"(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)",
    "Google": r"(?<![\w-])AIza[A-Za-z0-9_-]{35}(?![\w-])",
    "JSON web token": r"(?<![\w-])eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{16,4096}",
    "private key": (
        r"(?s)-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----(?:(?!-----).){0,16384}(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?"
    ),
    "assignment": (
        r"(?i)(?<![a-z])(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|token)"
        r"[\"']?\s{0,4}[:=]\s{0,4}[\"']?[^\s,;\"']{6,256}"
    ),
}


class Redactor:
    """Replaces what it finds by its kind, as in `<EMAIL_ADDRESS>`, and counts."""

    def __init__(self) -> None:
        self._recognizers: Sequence[EntityRecognizer] = (
            _patterns("EMAIL_ADDRESS", EMAILS),
            _patterns("URL_WITH_CREDENTIALS", URLS),
            _patterns("SECRET", SECRETS),
            PhoneRecognizer(),
            IbanRecognizer(),
            CreditCardRecognizer(),
            IpRecognizer(),
        )
        self._engine = AnonymizerEngine()
        self._replaced: Counter[str] = Counter()

    def redact(self, completion: Completion) -> Completion:
        """Returns the completion with every text redacted."""
        messages = completion.messages
        return replace(
            completion,
            messages=messages and tuple(Message(m.role, self.text(m.content)) for m in messages),
            answer=self._maybe(completion.answer),
            ratings=tuple(self._rating(rating) for rating in completion.ratings),
        )

    def text(self, text: str) -> str:
        """Returns `text` with every personal datum and secret replaced."""
        found = [
            RecognizerResult(r.entity_type, r.start, r.end, r.score)
            for recognizer in self._recognizers
            for r in recognizer.analyze(text, recognizer.supported_entities, None)
        ]
        if not found:
            return text
        result = self._engine.anonymize(text, found, merge_entities_with_spaces=False)
        self._replaced.update(item.entity_type for item in result.items)
        return str(result.text)

    def report(self) -> Redaction:
        """Returns what was replaced until now."""
        return Redaction(presidio=version("presidio-analyzer"), replaced=dict(sorted(self._replaced.items())))

    def _maybe(self, text: str | None) -> str | None:
        return text and self.text(text)

    def _rating(self, rating: Rating) -> Rating:
        rival = rating.rival and replace(rating.rival, answer=self._maybe(rating.rival.answer))
        return replace(rating, correction=self._maybe(rating.correction), rival=rival)


def _patterns(entity: str, patterns: dict[str, str]) -> EntityRecognizer:
    # Case counts: flags of patterns are their own.
    return PatternRecognizer(
        entity, patterns=[Pattern(name, regex, 1.0) for name, regex in patterns.items()], global_regex_flags=0
    )
