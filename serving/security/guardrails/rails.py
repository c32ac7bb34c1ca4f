"""From an assistant's guardrails to the rules of each text that they are for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from serving.config import (
    Assistant,
    Catalog,
    ClassifierGuardrail,
    GuardedText,
    Guardrail,
    InjectionGuardrail,
    LinksGuardrail,
    PiiGuardrail,
    SecretsGuardrail,
    TopicsGuardrail,
)
from serving.security.guardrails.finding import Check
from serving.security.guardrails.injection import Injection
from serving.security.guardrails.links import Links
from serving.security.guardrails.pii import PersonalInformation
from serving.security.guardrails.screen import Rule
from serving.security.guardrails.secrets import Secrets
from serving.security.guardrails.words import Words

Judged = TopicsGuardrail | ClassifierGuardrail
"""What is asked of a model, about a whole text."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is checked of one kind of text: by rules, and by models. It is false where nothing is."""

    rules: tuple[Rule, ...]
    judges: tuple[Judged, ...]

    def __bool__(self) -> bool:
        return bool(self.rules or self.judges)


@dataclass(frozen=True, slots=True)
class Rails:
    """The checks of an assistant.

    `version` names those of what a model reads: others, or other settings of theirs, have another.
    """

    input: Stage
    output: Stage
    context: Stage
    version: str


class AssistantRails:
    """The checks of each assistant of a catalogue, and of bare models. Immutable."""

    def __init__(self, catalog: Catalog) -> None:
        self._default = build(catalog.guardrails)
        self._own = {a.name: build(a.guardrails) for a in catalog.assistants if a.guardrails is not None}

    def of(self, assistant: Assistant | None) -> Rails | None:
        """Returns the checks of an assistant, None of a bare model; None where there are none."""
        return self._own.get(assistant.name, self._default) if assistant is not None else self._default


def build(guardrails: Sequence[Guardrail]) -> Rails | None:
    """Returns the checks; None where there are none."""
    if not guardrails:
        return None
    return Rails(
        _stage(guardrails, "input"), _stage(guardrails, "output"), _stage(guardrails, "context"), _version(guardrails)
    )


def _version(guardrails: Sequence[Guardrail]) -> str:
    reading = [(g, on) for g in guardrails if (on := sorted({"input", "context"}.intersection(g.on)))]
    said = json.dumps([{**g.model_dump(mode="json"), "on": on} for g, on in reading], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _stage(guardrails: Sequence[Guardrail], where: GuardedText) -> Stage:
    mine = [g for g in guardrails if where in g.on]
    rules = [Rule(g.check, g.action, check) for g in mine if (check := _check(g)) is not None]
    judges = [g for g in mine if isinstance(g, ClassifierGuardrail) or (isinstance(g, TopicsGuardrail) and _asks(g))]
    return Stage(tuple(rules), tuple(judges))


def _asks(topics: TopicsGuardrail) -> bool:
    return bool(topics.deny or topics.allow)


def _check(guardrail: Guardrail) -> Check | None:
    match guardrail:
        case InjectionGuardrail():
            return Injection()
        case SecretsGuardrail():
            return Secrets()
        case PiiGuardrail():
            return PersonalInformation(guardrail.kinds)
        case LinksGuardrail():
            return Links(guardrail.allow, guardrail.max_data)
        case TopicsGuardrail():
            return Words(guardrail.words) if guardrail.words else None
        case ClassifierGuardrail():
            return None
