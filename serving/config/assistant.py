"""Assistants: a model with a prompt, knowledge, memory, tools and guardrails."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serving.config.base import Name, Restrictable
from serving.config.guardrails import Guardrails, Instructions
from serving.config.memory import Memory, TokenWindowMemory
from serving.config.strategies import STRATEGIES, Direct, React, ReactCotSc, Strategy, StrategyKind

Starter = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
"""A question with which people may begin."""

Capture = Literal["all", "none"]
"""Which completions are stored with their inputs."""


Unstored = Literal["metadata", "none"]
"""What is captured of a request with `store: false`: caller, model, time and cost, or nothing."""


Unsupported = Literal["mark", "quote", "retry", "refuse"]
"""How an answer is handled that documents do not support."""


class Assistant(Restrictable):
    """An assistant under one model id: prompt, knowledge and generation defaults.

    Only its own `access` determines who may call it, not its model's; of its tools, a caller can use those that the
    tools' `access` allows.
    """

    name: Name
    model: Name = Field(description="alias or model that answers")
    description: str = Field(default="", max_length=2000)
    starters: tuple[Starter, ...] = Field(default=(), max_length=8, description="questions that the page offers")
    prompt: str = Field(default="", max_length=100_000, description="system prompt")
    knowledge: tuple[Name, ...] = Field(default=(), max_length=16, description="collections to search")
    top_k: int = Field(default=4, ge=1, le=50, description="number of chunks in the prompt")
    context_tokens: int = Field(default=700, ge=50, le=1_000_000, description="token budget of the retrieved text")
    memory: Memory = Field(default=TokenWindowMemory(), description="memory of the conversation that a request names")
    capture: Capture | None = Field(default=None, description="overrides the stack's capture")
    strategy: Strategy = Field(default=Direct(), description="how it finds its answers")
    strategies: tuple[StrategyKind, ...] = Field(
        default=STRATEGIES, max_length=len(STRATEGIES), description="strategies that a request may select"
    )
    tools: tuple[str, ...] = Field(
        default=("calculator", "python", "time"),
        max_length=32,
        description="tools that `react` may call: `calculator`, `python`, `retrieval`, `time`, and those of "
        "`headrace:tools`",
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    refusal: str = Field(
        default="I found nothing about this in the documents that I can read.",
        min_length=1,
        max_length=2000,
        description="the answer when retrieval finds nothing relevant",
    )
    unsupported: Unsupported | None = Field(
        default=None,
        description="how an answer with unsupported sentences is handled: `mark` lists them beside it, "
        "`quote` answers with sentences of the documents themselves, `retry` asks the model again and `refuse` "
        "answers with `refusal`; by default as a request asks, else `mark`, or `quote` for a model that is not "
        "`grounded`",
    )
    small_talk: str = Field(
        default="Happy to help! Ask me a question, and I answer it from the documents that I can read.",
        max_length=2000,
        description="the answer to greetings, thanks and questions about the assistant itself, where it has knowledge; "
        "empty: documents are searched for these too",
    )
    guardrails: Guardrails | None = Field(default=None, description="overrides the stack's guardrails")
    instructions: Instructions | None = Field(default=None, description="overrides the stack's instructions")
    spotlight: Literal["none", "delimit", "datamark"] = Field(
        default="none",
        description="how retrieved text and what tools say are set apart from instructions: between marks that "
        "nobody else can know, or with a rare character between all words too, which takes twice the tokens",
    )

    @model_validator(mode="after")
    def _has_what_supports(self) -> Self:
        if self.unsupported not in (None, "mark") and not self.knowledge:
            raise ValueError(f"unsupported: {self.unsupported} needs knowledge, which supports answers")
        return self

    @model_validator(mode="after")
    def _tools_fit(self) -> Self:
        if len(set(self.tools)) < len(self.tools):
            raise ValueError("a tool is named twice")
        if "retrieval" in self.tools and not self.knowledge:
            raise ValueError("the tool retrieval needs knowledge to search")
        if isinstance(self.strategy, React | ReactCotSc) and not self.tools:
            raise ValueError(f"the strategy {self.strategy.kind} needs tools")
        return self
