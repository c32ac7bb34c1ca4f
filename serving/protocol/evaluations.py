"""Requests about evaluations."""

from __future__ import annotations

from pydantic import Field

from serving.protocol.parts import Body, ModelName


class EvaluationRequest(Body):
    """`POST /v1/hub/evaluations`."""

    suite: str = Field(min_length=1, max_length=64, description="a suite's id")
    model: ModelName = Field(description="the model, alias or assistant to score")
    against: ModelName | None = Field(
        default=None, description="the model, alias or assistant to compare with; the gate needs one"
    )
    version: str | None = Field(
        default=None,
        max_length=64,
        description="the version of the model hub that the model serves: the card becomes its own, and its training "
        "data must not contain the suite's prompts. A live version need not be named",
    )
