"""Requests about releases of models for managed aliases."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from serving.protocol.parts import Body, ModelName
from serving.protocol.tuning import HubId


class GateOverride(Body):
    """Why a version of the model hub is released although no evaluation of it passed the gate."""

    reason: str = Field(min_length=1, max_length=128, description="for the audit log, the release and the card")

    @field_validator("reason")
    @classmethod
    def _says_something(cls, reason: str) -> str:
        if not reason.strip():
            raise ValueError("must not be blank")
        return reason


class ReleaseRequest(Body):
    """`POST /v1/hub/releases`."""

    alias: ModelName = Field(description="the managed alias")
    target: ModelName | None = Field(default=None, description="the model that gets a share of the alias's requests")
    version: HubId | None = Field(
        default=None, description="in place of `target`: an adapter of the hub, which the release makes live"
    )
    share: float | None = Field(
        default=None, gt=0, le=0.5, description="share of the requests; by default the alias's `max_canary`"
    )
    evaluation: str | None = Field(
        default=None,
        max_length=64,
        description="an evaluation of the model that passed the gate; a version of the hub needs one",
    )
    gate_override: GateOverride | None = Field(
        default=None, description="in place of `evaluation`: why a version of the hub is released without one"
    )

    @model_validator(mode="after")
    def _of_one_target(self) -> ReleaseRequest:
        if (self.target is None) == (self.version is None):
            raise ValueError("either target or version is required")
        if self.evaluation is not None and self.gate_override is not None:
            raise ValueError("evaluation and gate_override exclude each other")
        return self


class ReleaseChange(Body):
    """`POST /v1/hub/releases/{release_id}/pause`, and other changes of a release."""

    revision: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="the release's `revision`, if it must not have changed since"
    )


class Promotion(ReleaseChange):
    """`POST /v1/hub/releases/{release_id}/promote`."""

    gate_override: GateOverride | None = Field(
        default=None, description="why a version is promoted whose release began without a passed gate"
    )
