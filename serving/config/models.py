"""Models and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from serving.config.apps import AppModel
from serving.config.base import Name, Restrictable, Strict, once
from serving.config.engines import LlamaCppModel, RemoteModel
from serving.config.kserve import KServeModel
from serving.config.vllm import VllmModel

_Hosted = LlamaCppModel | VllmModel

HostedModel = Annotated[_Hosted | AppModel, Field(discriminator="engine")]
"""A model that runs in replicas of Ray Serve, or an app, which runs in the same way."""


Model = Annotated[_Hosted | KServeModel | RemoteModel, Field(discriminator="engine")]


AnsweringModel = Annotated[_Hosted | AppModel | KServeModel | RemoteModel, Field(discriminator="engine")]
"""An entry with its own name: a model or an app."""


def names(model: AnsweringModel) -> tuple[str, ...]:
    """Returns the names of a model: its own, and those of its adapters."""
    adapters = model.loras if isinstance(model, VllmModel) else ()
    return (model.name, *(a.name for a in adapters))


class Target(Strict):
    """One weighted target of an alias."""

    model: Name
    weight: float = Field(default=1, gt=0, le=1e6)


Guard = Literal["errors", "truncation", "guardrails", "first_token", "ratings"]
"""Kinds of bad outcomes: of answers, and bad ratings of them."""


class GateLimits(Strict):
    """How lenient the bounds of a suite may be by whose evaluation a version of the model hub is released."""

    min_win_rate: float = Field(default=0.5, ge=0, lt=1, description="least `min_win_rate` of the suite")
    max_worse: float = Field(default=0.05, ge=0, le=1, description="largest `max_worse` of the suite")
    max_length_ratio: float = Field(default=2.0, ge=1, le=100, description="largest `max_length_ratio` of the suite")


class Managed(Strict):
    """Bounds of releases, which change at run time which model answers for an alias."""

    base: Name = Field(description="the model that answers until a release is promoted")
    max_canary: float = Field(default=0.1, gt=0, le=0.5, description="largest share of requests for a canary")
    auto_promote: bool = Field(
        default=False, description="whether a canary is promoted once it is proven to be no worse than its base"
    )
    guards: Annotated[tuple[Guard, ...], Field(min_length=1), AfterValidator(once)] = Field(
        default=get_args(Guard), description="the outcomes by which a canary is rolled back"
    )
    max_first_token_s: float = Field(
        default=10, gt=0, le=3600, description="for the guard `first_token`: seconds until a model answers"
    )
    max_hours: float = Field(default=24, gt=0, le=720, description="after which an undecided canary is rolled back")
    max_evaluation_hours: float = Field(
        default=168, gt=0, le=8760, description="age of the evaluation by which a version of the model hub is released"
    )
    gate: GateLimits = Field(
        default=GateLimits(), description="how lenient a suite may be by which a version of the model hub is released"
    )
    pin: Name | None = Field(
        default=None, description="the model that answers, whatever was released; no release begins meanwhile"
    )


class Alias(Restrictable):
    """A stable name for models, which has either fixed `targets` or a `managed` one that releases change.

    Targets that a caller may not call are not used for that caller; without any other target, the alias does not exist
    for the caller.
    """

    name: Name
    targets: tuple[Target, ...] = Field(
        default=(), max_length=16, description="models with weights; needed unless the alias is managed"
    )
    managed: Managed | None = Field(default=None, description="bounds of releases, instead of fixed targets")

    @model_validator(mode="before")
    @classmethod
    def _base_is_the_target(cls, given: object) -> object:
        """Gives a managed alias its base as the target."""
        managed = given.get("managed") if isinstance(given, Mapping) else None
        if not isinstance(given, Mapping) or managed is None or given.get("targets"):
            return given
        base = managed.get("base") if isinstance(managed, Mapping) else getattr(managed, "base", None)
        return {**given, "targets": [{"model": base}]} if base is not None else given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if not self.targets:
            raise ValueError("needs targets, or managed with a base")
        if self.managed is not None and self.targets != (Target(model=self.managed.base),):
            raise ValueError("has managed, whose base is its only target: leave targets out")
        return self

    @property
    def named_models(self) -> tuple[tuple[str, str], ...]:
        """The models that the configuration names, each with its place in the alias."""
        if self.managed is None:
            return tuple((f"targets[{i}].model", target.model) for i, target in enumerate(self.targets))
        given = (("managed.base", self.managed.base), ("managed.pin", self.managed.pin))
        return tuple((place, model) for place, model in given if model is not None)
