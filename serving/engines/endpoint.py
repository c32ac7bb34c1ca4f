"""A model is an OpenAI-compatible HTTP endpoint: every engine brings one up or finds one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from serving.config import Tokenizer


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers.

    `url` is the base with the version (`http://host:port/v1`), `model` its name there, `headers` what it wants
    to be asked with (they can hold a key, so they stay out of `repr`). Times are seconds.
    `context` is the tokens of one request with its answer, and `tokenizer` says whose routes count them; each is None
    where it is not known. One that is `leased` is a replica of ours, and there may be others like it. What each request
    for tokens carries beside its own fields is `beside`: it says whose its prompt cache is. Unless what was found there
    is `counted`, the caller is not told how much: it may be another's.
    """

    url: str
    model: str
    headers: dict[str, str] = field(repr=False)
    retries: int = 0
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 600.0
    idle_timeout_s: float = 120.0
    text_only: bool = False
    context: int | None = None
    tokenizer: Tokenizer | None = None
    leased: bool = False
    beside: dict[str, Any] = field(default_factory=dict, repr=False)
    counted: bool = False


class EngineUnavailable(Exception):
    """No replica of the model can take the request now. The message is for the caller."""


class EngineBusy(EngineUnavailable):
    """Every replica is at its bound; the caller may try again soon."""
