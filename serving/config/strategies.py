"""Reasoning strategies: direct, chain of thought, programs and tools."""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, field_validator

from serving.config.base import Name, Strict


class Template(Strict):
    """A prompt with placeholders such as `{question}`; literal braces are doubled."""

    name: Name
    version: int = Field(ge=1, le=1_000_000)
    text: str = Field(min_length=1, max_length=20_000)

    @field_validator("text")
    @classmethod
    def _plain(cls, value: str) -> str:
        try:
            places = [place for place in Formatter().parse(value) if place[1] is not None]
        except ValueError as e:
            raise ValueError(f"its braces are wrong: {e}") from None
        for _, name, spec, conversion in places:
            if not re.fullmatch(r"[a-z_]{1,32}", name or "") or spec or conversion:
                raise ValueError("a placeholder is only a name in braces, such as {question}")
        return value

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of its placeholders, in order."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.text) if name is not None)


def _with(*variables: str) -> AfterValidator:
    """Returns a validator that requires each of `variables`, and nothing else, exactly once."""

    def check(template: Template) -> Template:
        if sorted(template.variables) != sorted(variables):
            wanted = ", ".join(f"{{{name}}}" for name in variables)
            raise ValueError(f"the template '{template.name}' must have each of these placeholders once: {wanted}")
        return template

    return AfterValidator(check)


QuestionTemplate = Annotated[Template, _with("question")]


ToolsTemplate = Annotated[Template, _with("tools", "question")]


class Effort(Strict):
    """Limits of an answer's effort; when one is reached, the answer found so far is returned, marked as cut short."""

    seconds: float = Field(default=120, gt=0, le=3600)
    tokens: int = Field(
        default=32_768,
        ge=1,
        le=100_000_000,
        description="limit of tokens read and written, after which the model is not asked again",
    )


class _Thinks(Strict):
    cot_template: QuestionTemplate | None = Field(default=None, description="prompt that asks to think step by step")


class _Votes(_Thinks):
    samples: int = Field(default=5, ge=2, le=64, description="number of answers that vote")
    vote_temperature: float = Field(
        default=0.7, gt=0, le=2, description="temperature of the samples, which must differ"
    )


class _Acts(Strict):
    steps: int = Field(default=6, ge=1, le=64, description="maximum number of steps")
    tool_calls: int = Field(default=12, ge=1, le=256)
    tool_seconds: float = Field(default=10, gt=0, le=600, description="timeout of one call")
    tool_characters: int = Field(
        default=24_000, ge=1000, le=1_000_000, description="characters of all tool results, at most 4000 per call"
    )
    protocol: Literal["text", "tools"] = Field(
        default="text",
        description="`tools` for engines with OpenAI's tool calls; `text` works with any model",
    )
    react_template: ToolsTemplate | None = Field(
        default=None, description="prompt that asks for Thought, Action, Action Input"
    )


class Direct(Strict):
    """The model answers directly."""

    kind: Literal["direct"] = "direct"


class ChainOfThought(Effort, _Thinks):
    """The model thinks step by step, then answers."""

    kind: Literal["cot"] = "cot"


class SelfConsistency(Effort, _Votes):
    """The most frequent answer of several chains of thought."""

    kind: Literal["self_consistency"] = "self_consistency"


class ProgramAided(Effort):
    """The model writes a program, whose result is the answer."""

    kind: Literal["pal"] = "pal"
    repairs: int = Field(default=1, ge=0, le=8, description="how often a failed program may be corrected")
    pal_template: QuestionTemplate | None = Field(default=None, description="prompt that asks for the program")


class React(Effort, _Acts):
    """The model thinks, calls a tool, reads the result, and so on until it answers."""

    kind: Literal["react"] = "react"


class ReactCotSc(Effort, _Votes, _Acts):
    """ReAct and self-consistency, each as the fallback of the other.

    ReAct fails when `steps` end without an answer; self-consistency when fewer than half of the samples agree.
    """

    kind: Literal["react_cot_sc"] = "react_cot_sc"
    first: Literal["react", "self_consistency"] = "react"


Reasoning = ChainOfThought | SelfConsistency | ProgramAided | React | ReactCotSc
"""A strategy with steps."""


Strategy = Annotated[Direct | Reasoning, Field(discriminator="kind")]
"""How an assistant finds its answers."""


StrategyKind = Literal["direct", "cot", "self_consistency", "pal", "react", "react_cot_sc"]


STRATEGIES: tuple[StrategyKind, ...] = get_args(StrategyKind)
