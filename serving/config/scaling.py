"""Numbers of replicas, and the target of Serve's autoscaler, which can follow from a model's objectives."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from serving.config.base import Name, Strict
from serving.config.objectives import Judged, Objectives
from serving.core.answer_lengths import LENGTHS
from serving.core.erlang import mean_ongoing

DEFAULT_TARGET = 2.0
"""Target where neither it nor objectives are set: Serve's own default."""

LATE = 0.05
"""Share of answers that may miss an objective."""


class Bounds(Strict):
    """Minimum and maximum of an autoscaler."""

    min_replicas: int = Field(default=1, ge=1, le=64)
    max_replicas: int = Field(ge=1, le=64)

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas must not be above max_replicas")
        return self


class MeasuredTimes(Strict):
    """Times of one replica in a load test, from which its autoscaler's target is computed."""

    service_s: float = Field(
        gt=0, le=86_400, description="mean time that a request holds its slot while all slots are busy"
    )
    first_token_s: float = Field(ge=0, le=3600, description="time until a streamed answer begins if nobody waits")
    between_tokens_s: float | None = Field(
        default=None, ge=0, le=60, description="mean time between two tokens while all slots are busy"
    )


class Autoscaling(Bounds):
    """Settings of Serve's autoscaling, which follows the number of running and waiting requests."""

    min_replicas: int = Field(default=1, ge=0, le=64, description="0 (models only): the first request starts a replica")
    target_ongoing_requests: float | None = Field(
        default=None,
        gt=0,
        le=65536,
        description="target number of requests per replica; by default what the model's objectives or measured times "
        "give if it has any, and 2 otherwise",
    )
    upscale_delay_s: float = Field(
        default=10, ge=0, le=86_400, description="duration of load before a replica is added"
    )
    downscale_delay_s: float = Field(
        default=300, ge=0, le=86_400, description="duration of idleness before one is removed"
    )
    measured: MeasuredTimes | None = Field(
        default=None, description="models only: measured times, by default assumed from its objectives"
    )


@dataclass(frozen=True, slots=True)
class ScalingTarget:
    """A target of an autoscaler, in requests per replica, and where it comes from."""

    requests: float
    origin: str


class Hosted(Strict):
    """Placement of a deployment's replicas, which the replicas themselves never see."""

    pool: Name = Field(default="serving", description="pool that runs it, on Kubernetes")
    autoscaling: Autoscaling | None = Field(default=None, description="replaces the fixed number of replicas")

    def scaling_target(self) -> ScalingTarget | None:
        """Returns the target of its autoscaler; None if its number of replicas is fixed."""
        if self.autoscaling is None:
            return None
        if self.autoscaling.target_ongoing_requests is not None:
            return ScalingTarget(self.autoscaling.target_ongoing_requests, "as set")
        return ScalingTarget(DEFAULT_TARGET, "the default without objectives of its own")

    def resolved_autoscaling(self) -> Autoscaling | None:
        """Returns the settings of its autoscaler for Serve, with the target."""
        if self.autoscaling is None or (target := self.scaling_target()) is None:
            return None
        return self.autoscaling.model_copy(update={"target_ongoing_requests": target.requests, "measured": None})


class Scaled(Hosted, Judged):
    """A model whose replicas Serve can add and remove."""

    @property
    @abstractmethod
    def concurrency(self) -> int:
        """Number of requests that one replica processes at once."""

    @model_validator(mode="after")
    def _measured(self) -> Self:
        times = self.autoscaling.measured if self.autoscaling else None
        if times is None:
            return self
        if getattr(self, "task", "chat") != "chat":
            raise ValueError("has autoscaling.measured, which is for models whose task is chat")
        allowed = self.objectives or Objectives()
        longest_s = max(allowed.end_to_end_s_of(length) for length in LENGTHS)
        if times.first_token_s >= allowed.first_token_s:
            raise ValueError(
                f"autoscaling.measured.first_token_s is {times.first_token_s:g} s without any wait, but the objective "
                f"first_token_s allows {allowed.first_token_s:g} s: no number of replicas helps, but a faster engine "
                "or a longer objective does"
            )
        if times.between_tokens_s is not None and times.between_tokens_s > allowed.between_tokens_s:
            raise ValueError(
                f"autoscaling.measured.between_tokens_s is {times.between_tokens_s:g} s, but the objective "
                f"between_tokens_s allows {allowed.between_tokens_s:g} s: lower the requests that a replica processes "
                "at once, since the autoscaler fills them"
            )
        if times.service_s > longest_s:
            raise ValueError(
                f"autoscaling.measured.service_s is {times.service_s:g} s, but the objective end_to_end_s allows "
                f"{longest_s:g} s at most: the mean answer is late without any wait"
            )
        return self

    def scaling_target(self) -> ScalingTarget | None:
        """Returns the target of its autoscaler; None if its number of replicas is fixed.

        A target that is set is used as it is. Otherwise it is the most requests with which 95 % of streamed answers
        begin within the objective. Without measured times, answers take as long as their objective allows: if 95 % of
        exponentially distributed times are within E seconds, their mean is E / ln 20. The engine itself then takes
        half of the time to the first token.
        """
        scaling = self.autoscaling
        if scaling is None or scaling.target_ongoing_requests is not None:
            return super().scaling_target()
        if self.objectives is None and scaling.measured is None:
            return super().scaling_target()
        allowed = self.objectives or Objectives()
        if (times := scaling.measured) is not None:
            service_s, first_s, known = times.service_s, times.first_token_s, "measured"
        else:
            service_s, first_s = allowed.end_to_end_s / -math.log(LATE), allowed.first_token_s / 2
            known = "assumed from the objectives"
        requests = mean_ongoing(self.concurrency, service_s, allowed.first_token_s - first_s, LATE)
        return ScalingTarget(
            min(float(f"{requests:.2g}"), self.concurrency),
            f"Erlang's C formula with {self.concurrency} requests at once, first_token_s {allowed.first_token_s:g} s "
            f"and, {known}, {service_s:.3g} s in a slot and {first_s:.3g} s to the first token",
        )
