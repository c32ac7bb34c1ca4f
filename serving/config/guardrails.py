"""Guardrails of models and assistants."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, StringConstraints, model_validator

from serving.config.base import Name, Strict

GuardedText = Literal["input", "output", "context"]
"""Kinds of checked text: of requests, of models, and from retrieval and tools."""


GuardAction = Literal["block", "redact", "flag"]
"""Reject the text, remove findings, or let it pass; each is counted and recorded."""


PersonalData = Literal["email", "phone", "iban", "card", "ip", "national_id"]


Phrase = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]


Host = Annotated[
    str,
    StringConstraints(
        pattern=r"^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$", max_length=253
    ),
]
"""A lower-case host, or `*.` and a domain for all hosts below it."""


class _Guardrail(Strict):
    action: GuardAction = Field(default="block", description="reject the text, remove findings, or only record them")


class InjectionGuardrail(_Guardrail):
    """Text that tries to give the model other instructions (prompt injection), found by heuristics."""

    check: Literal["injection"] = "injection"
    on: tuple[Literal["input", "context"], ...] = Field(default=("input", "context"), min_length=1, max_length=2)


class SecretsGuardrail(_Guardrail):
    """Keys, tokens, private keys and passwords."""

    check: Literal["secrets"] = "secrets"
    on: tuple[GuardedText, ...] = Field(default=("input", "output", "context"), min_length=1, max_length=3)
    action: GuardAction = Field(default="redact", description="reject the text, remove findings, or only record them")


class PiiGuardrail(_Guardrail):
    """Personal data with a fixed form or a checksum."""

    check: Literal["pii"] = "pii"
    on: tuple[GuardedText, ...] = Field(default=("input", "output", "context"), min_length=1, max_length=3)
    action: GuardAction = Field(default="redact", description="reject the text, remove findings, or only record them")
    kinds: tuple[PersonalData, ...] = Field(default=get_args(PersonalData), min_length=1, max_length=6)


class LinksGuardrail(_Guardrail):
    """Links and images to hosts that are not allowed, or with data in their address."""

    check: Literal["links"] = "links"
    on: tuple[Literal["output"], ...] = Field(default=("output",), min_length=1, max_length=1)
    action: GuardAction = Field(default="redact", description="reject the text, remove findings, or only record them")
    allow: tuple[Host, ...] = Field(
        default=(), max_length=256, description="hosts, such as example.com or *.example.com"
    )
    max_data: int = Field(
        default=128, ge=0, le=8192, description="maximum number of characters of an address's query and fragment"
    )


class TopicsGuardrail(_Guardrail):
    """Denied topics, or the only allowed ones: by words, and by similarity of a text to descriptions."""

    check: Literal["topics"] = "topics"
    on: tuple[Literal["input", "output"], ...] = Field(default=("input",), min_length=1, max_length=2)
    words: tuple[Phrase, ...] = Field(default=(), max_length=256, description="denied words and phrases")
    deny: tuple[Phrase, ...] = Field(
        default=(), max_length=64, description="denied topics, each described in a few words"
    )
    allow: tuple[Phrase, ...] = Field(
        default=(), max_length=64, description="allowed topics; empty: all that are not denied"
    )
    min_score: float = Field(
        default=0.45, ge=-1, le=1, description="minimum cosine between a topic and a text about it"
    )

    @model_validator(mode="after")
    def _check_topics(self) -> Self:
        if not (self.words or self.deny or self.allow):
            raise ValueError("set words, deny or allow")
        if (self.deny or self.allow) and self.action == "redact":
            raise ValueError("topics apply to whole texts: use block or flag; only words can be redacted")
        return self


class ClassifierGuardrail(Strict):
    """A model that classifies texts as safe or unsafe."""

    check: Literal["classifier"] = "classifier"
    on: tuple[Literal["input", "output"], ...] = Field(default=("input",), min_length=1, max_length=2)
    action: Literal["block", "flag"] = "block"
    model: Name = Field(description="alias or model to ask")
    api: Literal["moderations", "chat"] = Field(
        default="chat",
        description="OpenAI's moderation API, or a chat model that answers safe or unsafe, such as Llama Guard",
    )
    categories: tuple[Annotated[str, StringConstraints(min_length=1, max_length=64)], ...] = Field(
        default=(), max_length=64, description="categories that count; by default all"
    )
    timeout_s: float = Field(default=5, gt=0, le=60, description="timeout of one request")
    max_characters: int = Field(
        default=20_000, ge=100, le=1_000_000, description="maximum length of a text; a longer one counts as a failure"
    )
    on_failure: Literal["block", "allow"] = Field(default="block", description="treatment of a text without a verdict")


Guardrail = Annotated[
    InjectionGuardrail | SecretsGuardrail | PiiGuardrail | LinksGuardrail | TopicsGuardrail | ClassifierGuardrail,
    Field(discriminator="check"),
]
"""A check of a model's input or output."""


Guardrails = Annotated[tuple[Guardrail, ...], Field(max_length=16)]


Instructions = Literal["screen", "refuse", "trust"]
"""Treatment of instructions (messages of `system` and `developer`, and `instructions`) from callers whose key lacks the
scope `prompt`: guardrails check them as text of the user, they are refused, or they are trusted like the operator's.
"""
