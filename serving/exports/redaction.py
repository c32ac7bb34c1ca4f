"""Removes personal data and secrets from texts, by Presidio with recognisers of patterns and checksums only.

No model is loaded and no network is used, so names and addresses of people are not found.
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

from serving.core.patterns import ASSIGNMENTS, EMAILS, TOKENS, URLS
from serving.exports.completion import CapturedMessage, CapturedRating, Completion
from serving.exports.manifest import Redaction


class Redactor:
    """Replaces findings by their kind, as in `<EMAIL_ADDRESS>`, and counts them."""

    def __init__(self) -> None:
        self._recognizers: Sequence[EntityRecognizer] = (
            _patterns("EMAIL_ADDRESS", EMAILS),
            _patterns("URL_WITH_CREDENTIALS", URLS),
            _patterns("SECRET", TOKENS | ASSIGNMENTS),
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
            messages=messages and tuple(CapturedMessage(m.role, self.text(m.content)) for m in messages),
            answer=self._maybe(completion.answer),
            ratings=tuple(self._rating(rating) for rating in completion.ratings),
        )

    def text(self, text: str) -> str:
        """Returns `text` with all personal data and secrets replaced."""
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
        """Returns the numbers of replacements so far."""
        return Redaction(presidio=version("presidio-analyzer"), replaced=dict(sorted(self._replaced.items())))

    def _maybe(self, text: str | None) -> str | None:
        return text and self.text(text)

    def _rating(self, rating: CapturedRating) -> CapturedRating:
        rival = rating.rival and replace(rating.rival, answer=self._maybe(rating.rival.answer))
        return replace(rating, correction=self._maybe(rating.correction), rival=rival)


def _patterns(entity: str, patterns: dict[str, str]) -> EntityRecognizer:
    # Case matters: patterns have their own flags.
    return PatternRecognizer(
        entity, patterns=[Pattern(name, regex, 1.0) for name, regex in patterns.items()], global_regex_flags=0
    )
