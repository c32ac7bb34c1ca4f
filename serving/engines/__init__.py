"""Engines: models as OpenAI-compatible endpoints, the router that selects one, and the client that sends requests."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.engines.replica import EngineReplica

REPLICAS = {
    "llamacpp": "serving.engines.llamacpp:LlamaCppReplica",
    "vllm": "serving.engines.vllm:VllmReplica",
    "app": "serving.engines.apps.replica:AppReplica",
}
"""Replica class of each engine that Ray Serve runs; only the replicas import it."""


def replica_class(engine: str) -> Callable[..., EngineReplica]:
    """Returns the class of an engine's replicas, which are created with the model's settings.

    The replicas of a model with `adapters` also get the `sets` that these are in.
    """
    module, _, name = REPLICAS[engine].partition(":")
    found: Callable[..., EngineReplica] = getattr(importlib.import_module(module), name)
    return found
