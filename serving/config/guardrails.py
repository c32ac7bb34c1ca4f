"""Checks of what is said."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, StringConstraints, model_validator

from serving.config.base import Name, Strict

GuardedText = Literal["input", "output", "context"]
"""What a request says, what a model says, and what retrieval and tools bring."""


GuardAction = Literal["block", "redact", "flag"]
"""Refuse, take out what was found, or let it pass; each is counted and recorded."""


PersonalData = Literal["email", "phone", "iban", "card", "ip", "national_id"]


Phrase = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]


Host = Annotated[
    str,
    StringConstraints(
        pattern=r"^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$", max_length=253
    ),
]
"""A host in lower case, or `*.` and a domain for all hosts below it."""


class _Guardrail(Strict):
    action: GuardAction = Field(default="block", description="refuse, take out what was found, or record it alone")


class InjectionGuardrail(_Guardrail):
    """Text that tries to give the model other instructions, by heuristics."""

    check: Literal["injection"] = "injection"
    on: tuple[Literal["input", "context"], ...] = Field(default=("input", "context"), min_length=1, max_length=2)


class SecretsGuardrail(_Guardrail):
    """Keys, tokens, private keys and passwords."""

    check: Literal["secrets"] = "secrets"
    on: tuple[GuardedText, ...] = Field(default=("input", "output", "context"), min_length=1, max_length=3)
    action: GuardAction = Field(default="redact", description="refuse, take out what was found, or record it alone")


class PiiGuardrail(_Guardrail):
    """Personal data that has a form or a checksum."""

    check: Literal["pii"] = "pii"
    on: tuple[GuardedText, ...] = Field(default=("input", "output", "context"), min_length=1, max_length=3)
    action: GuardAction = Field(default="redact", description="refuse, take out what was found, or record it alone")
    kinds: tuple[PersonalData, ...] = Field(default=get_args(PersonalData), min_length=1, max_length=6)


class LinksGuardrail(_Guardrail):
    """Links and images to hosts that are not allowed, or with data in their address."""

    check: Literal["links"] = "links"
    on: tuple[Literal["output"], ...] = Field(default=("output",), min_length=1, max_length=1)
    action: GuardAction = Field(default="redact", description="refuse, take out what was found, or record it alone")
    allow: tuple[Host, ...] = Field(
        default=(), max_length=256, description="hosts, such as example.com or *.example.com"
    )
    max_data: int = Field(default=128, ge=0, le=8192, description="characters of an address's query and fragment")


class TopicsGuardrail(_Guardrail):
    """Topics that are denied, or the only ones allowed: by words, and by likeness of a text to descriptions."""

    check: Literal["topics"] = "topics"
    on: tuple[Literal["input", "output"], ...] = Field(default=("input",), min_length=1, max_length=2)
    words: tuple[Phrase, ...] = Field(default=(), max_length=256, description="words and phrases that are denied")
    deny: tuple[Phrase, ...] = Field(default=(), max_length=64, description="topics, each in a few words")
    allow: tuple[Phrase, ...] = Field(default=(), max_length=64, description="if any: topics of which a text must be")
    min_score: float = Field(default=0.45, ge=-1, le=1, description="least cosine between a text and a topic of it")

    @model_validator(mode="after")
    def _check_topics(self) -> Self:
        if not (self.words or self.deny or self.allow):
            raise ValueError("name words, deny or allow")
        if (self.deny or self.allow) and self.action == "redact":
            raise ValueError("a topic is a whole text's: block or flag it; words can be redacted")
        return self


class ClassifierGuardrail(Strict):
    """A model that says whether a text is safe."""

    check: Literal["classifier"] = "classifier"
    on: tuple[Literal["input", "output"], ...] = Field(default=("input",), min_length=1, max_length=2)
    action: Literal["block", "flag"] = "block"
    model: Name = Field(description="the alias (or model) that is asked")
    api: Literal["moderations", "chat"] = Field(
        default="chat",
        description="OpenAI's moderations, or a chat model that says safe or unsafe, as Llama Guard does",
    )
    categories: tuple[Annotated[str, StringConstraints(min_length=1, max_length=64)], ...] = Field(
        default=(), max_length=64, description="those that count; by default all"
    )
    timeout_s: float = Field(default=5, gt=0, le=60, description="of one question")
    max_characters: int = Field(
        default=20_000, ge=100, le=1_000_000, description="of a text; a longer one is a failure"
    )
    on_failure: Literal["block", "allow"] = Field(default="block", description="what a missing verdict means")


Guardrail = Annotated[
    InjectionGuardrail | SecretsGuardrail | PiiGuardrail | LinksGuardrail | TopicsGuardrail | ClassifierGuardrail,
    Field(discriminator="check"),
]
"""A check of what goes into a model or comes out of it."""


Guardrails = Annotated[tuple[Guardrail, ...], Field(max_length=16)]


Instructions = Literal["screen", "refuse", "trust"]
"""What becomes of instructions (messages of `system` and `developer`, and `instructions`) of callers whose key lacks
the scope `prompt`: guardrails check them as text of the user, they are refused, or they are trusted as the operator's.
"""
