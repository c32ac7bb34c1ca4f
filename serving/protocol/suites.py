"""Suites: prompts with checks, by which models are compared."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serving.config.base import Name
from serving.config.models import GateLimits
from serving.protocol.parts import Body, ModelName

MAX_PROMPTS = 1000
MAX_TEXT = 100_000

PromptId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]

Words = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]

Group = Literal["task", "off_task"]


class ExactCheck(Body):
    """The whole answer, without surrounding white space."""

    kind: Literal["exact"]
    text: Words
    ignore_case: bool = False


class ContainsCheck(Body):
    """A text that the answer contains."""

    kind: Literal["contains"]
    text: Words
    ignore_case: bool = True


class AbsentCheck(Body):
    """A text that the answer must not contain, such as a marker that belongs to another task."""

    kind: Literal["absent"]
    text: Words
    ignore_case: bool = True


class RegexCheck(Body):
    """A regular expression in RE2's syntax that matches a part of the answer."""

    kind: Literal["regex"]
    pattern: str = Field(min_length=1, max_length=1000)


class JsonCheck(Body):
    """The answer is a JSON object with at least the `required` fields."""

    kind: Literal["json"]
    required: list[Annotated[str, StringConstraints(max_length=256)]] = Field(default=[], max_length=64)


class CodeCheck(Body):
    """The answer's Python program, with `then` appended, has the value `expect` in the sandbox."""

    kind: Literal["code"]
    then: str = Field(default="", max_length=10_000)
    expect: str = Field(max_length=10_000)


class CitationsCheck(Body):
    """The answer cites documents, each with at least this support, and no sentence is unsupported."""

    kind: Literal["citations"]
    min_support: float = Field(default=0.0, ge=0, le=1)


class LengthCheck(Body):
    """The length of the answer in characters."""

    kind: Literal["length"]
    max_characters: int = Field(ge=1, le=1_000_000)


Check = Annotated[
    ExactCheck | ContainsCheck | AbsentCheck | RegexCheck | JsonCheck | CodeCheck | CitationsCheck | LengthCheck,
    Field(discriminator="kind"),
]


class SuiteMessage(Body):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: Words


class SuitePrompt(Body):
    """One prompt; a string is a message of the user."""

    id: PromptId
    messages: Words | Annotated[list[SuiteMessage], Field(min_length=1, max_length=64)]
    group: Group = Field(
        default="task", description="`off_task` for a prompt outside of the task, which a version must not get worse at"
    )
    checks: list[Check] = Field(default=[], max_length=16, description="all of them must pass")

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages of a request."""
        if isinstance(self.messages, str):
            return [{"role": "user", "content": self.messages}]
        return [{"role": message.role, "content": message.content} for message in self.messages]


class ChecksJudge(Body):
    """The better answer is the one that passes its prompt's checks."""

    kind: Literal["checks"]


class ModelJudge(Body):
    """A model says which answer is better. It is asked in both orders; an answer that wins in only one is a tie."""

    kind: Literal["model"]
    model: ModelName
    criteria: str = Field(
        default="helpfulness, correctness and brevity",
        min_length=1,
        max_length=2000,
        description="what makes it better",
    )


class RewardJudge(Body):
    """A model with `task: rerank` scores both answers for the prompt; the higher score wins."""

    kind: Literal["reward"]
    model: ModelName


Judge = Annotated[ChecksJudge | ModelJudge | RewardJudge, Field(discriminator="kind")]


class RatedPair(Body):
    """Two answers of which people found one better: measures how far the judge agrees with people."""

    messages: Words
    better: Words
    worse: Words


_DEFAULTS = GateLimits()


class GateBounds(Body):
    """What the gate requires of a candidate."""

    min_win_rate: float = Field(
        default=_DEFAULTS.min_win_rate,
        ge=0,
        lt=1,
        description="which the lower bound of the win rate's interval must exceed",
    )
    max_worse: float = Field(
        default=_DEFAULTS.max_worse,
        ge=0,
        le=1,
        description="by how much a share may be worse than that of the model compared with",
    )
    max_length_ratio: float = Field(
        default=_DEFAULTS.max_length_ratio,
        ge=1,
        le=100,
        description="mean length of answers, relative to the model compared with",
    )


class Suite(Body):
    """A suite, whose digest identifies it: a changed suite is another one."""

    name: Name
    description: str = Field(default="", max_length=2000)
    prompts: list[SuitePrompt] = Field(min_length=1, max_length=MAX_PROMPTS)
    judge: Judge = ChecksJudge(kind="checks")
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int = Field(default=256, ge=1, le=100_000, description="of each answer")
    rated: list[RatedPair] = Field(default=[], max_length=MAX_PROMPTS, description="answers that people compared")
    bounds: GateBounds = GateBounds()

    @model_validator(mode="after")
    def _once(self) -> Self:
        ids = [prompt.id for prompt in self.prompts]
        if len(set(ids)) < len(ids):
            raise ValueError("two prompts have the same id")
        if isinstance(self.judge, ChecksJudge) and not any(p.checks for p in self.prompts if p.group == "task"):
            raise ValueError("the judge `checks` needs checks of prompts of the task")
        return self
