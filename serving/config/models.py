"""Models and aliases."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serving.config.apps import AppModel
from serving.config.base import Name, Restrictable, Strict
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


class Alias(Restrictable):
    """A stable name for models: for a canary or a rollback, its targets change, but not its callers.

    Targets that a caller may not call are not used for that caller; without any other target, the alias does not exist
    for the caller.
    """

    name: Name
    targets: tuple[Target, ...] = Field(min_length=1, max_length=16)
