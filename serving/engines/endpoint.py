"""An OpenAI-compatible HTTP endpoint, which every model has, whatever its engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from serving.config import Tokenizer


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers.

    `url` is the base with the version (`http://host:port/v1`), `model` its name there, and `headers` are sent with each
    request (they can contain a key, so they are not in `repr`). Times are in seconds. `context` is the maximum number
    of tokens of a request with its answer, and `tokenizer` names the API that counts them; each is None if unknown. A
    `leased` endpoint is one of possibly several replicas in the stack, and `replica` the id that Serve gave it.

    `served` is the configured model, under whose name failures are counted; empty counts none.

    `beside` are additional fields of each request for tokens: they name the owner of its prompt cache. Unless `counted`
    is set, the number of cached tokens is not reported to the caller: the cached prompt may be another user's.
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
    replica: str | None = None
    beside: dict[str, Any] = field(default_factory=dict, repr=False)
    counted: bool = False
    served: str = ""


class EngineUnavailable(Exception):
    """No replica of the model can take the request now. The message is shown to the caller."""


class EngineBusy(EngineUnavailable):
    """Every replica is at its limit; the caller may retry soon."""
