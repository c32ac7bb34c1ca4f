"""Converts an assistant's guardrails to the checks of each kind of text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from serving.config import (
    AnsweringModel,
    Assistant,
    Catalog,
    ClassifierGuardrail,
    GuardedText,
    Guardrail,
    InjectionGuardrail,
    Instructions,
    LinksGuardrail,
    PiiGuardrail,
    SecretsGuardrail,
    TopicsGuardrail,
    VllmModel,
    names,
)
from serving.core.principal import Principal
from serving.guardrails.rules.finding import Check
from serving.guardrails.rules.injection import Injection
from serving.guardrails.rules.links import Links
from serving.guardrails.rules.pii import PersonalInformation
from serving.guardrails.rules.secrets import Secrets
from serving.guardrails.rules.words import Words
from serving.guardrails.screen import Rule

_CHOOSE: dict[str, Any] = {
    **dict.fromkeys(("engine", "source", "sha256", "storage", "file", "existing", "url", "model"), True),
    **dict.fromkeys(("runtime", "quantization", "chat_template", "arguments"), True),
    "canary": {"storage"},
}
"""Fields of a model that determine its answers; the others determine its size and placement."""

Judged = TopicsGuardrail | ClassifierGuardrail
"""Guardrails that ask a model about a whole text."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The checks of one kind of text: by rules, and by models. It is false if there are none."""

    rules: tuple[Rule, ...]
    judges: tuple[Judged, ...]

    def __bool__(self) -> bool:
        return bool(self.rules or self.judges)


@dataclass(frozen=True, slots=True)
class Rails:
    """The checks of an assistant.

    `version` identifies those of the model's input: it changes with the guardrails, their settings, and the model of a
    classifier.
    """

    input: Stage
    output: Stage
    context: Stage
    version: str


class AssistantRails:
    """The checks of each assistant of a catalogue, and of models without assistant. Immutable."""

    def __init__(self, catalog: Catalog) -> None:
        asked = partial(_classifier_models, catalog)
        self._default = build(catalog.guardrails, asked)
        self._instructions = catalog.instructions
        self._own = {a.name: build(a.guardrails, asked) for a in catalog.assistants if a.guardrails is not None}

    def for_assistant(self, assistant: Assistant | None) -> Rails | None:
        """Returns the checks of an assistant, or with None those of models without one; None if there are none."""
        return self._own.get(assistant.name, self._default) if assistant is not None else self._default

    def instructions(self, assistant: Assistant | None, caller: Principal) -> Instructions:
        """Returns how a caller's instructions to an assistant, or to a model, are treated."""
        if "prompt" in caller.scopes:
            return "trust"
        own = assistant.instructions if assistant is not None else None
        return own or self._instructions


def build(guardrails: Sequence[Guardrail], asked: Callable[[str], object] = str) -> Rails | None:
    """Returns the checks, None if there are none; `asked` identifies the model of a classifier."""
    if not guardrails:
        return None
    stages = (_stage(guardrails, "input"), _stage(guardrails, "output"), _stage(guardrails, "context"))
    return Rails(*stages, _version(guardrails, asked))


def _version(guardrails: Sequence[Guardrail], asked: Callable[[str], object]) -> str:
    reading = [
        {**g.model_dump(mode="json"), "on": on, **({"asked": asked(g.model)} if g.check == "classifier" else {})}
        for g in guardrails
        if (on := sorted({"input", "context"}.intersection(g.on)))
    ]
    return hashlib.sha256(json.dumps(reading, sort_keys=True).encode()).hexdigest()[:32]


def _classifier_models(catalog: Catalog, name: str) -> list[object]:
    """Returns a value that identifies the models that `name` can resolve to, independent of their weights."""
    targets = next((sorted(t.model for t in alias.targets) for alias in catalog.aliases if alias.name == name), [name])
    return [
        [target, *_chosen(model, target)] for target in targets for model in catalog.models if target in names(model)
    ]


def _chosen(model: AnsweringModel, name: str) -> list[object]:
    """Returns a value that identifies a name of `model`: its own, or that of an adapter."""
    loras = model.loras if isinstance(model, VllmModel) else ()
    return [model.model_dump(mode="json", include=_CHOOSE), [lora.source for lora in loras if lora.name == name]]


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
