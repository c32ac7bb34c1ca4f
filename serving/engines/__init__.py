"""Models as OpenAI-compatible endpoints: which one answers, and the client that asks it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.config import HostedModel
    from serving.engines.replica import EngineReplica

REPLICAS = {
    "llamacpp": "serving.engines.llamacpp:LlamaCppReplica",
    "vllm": "serving.engines.vllm:VllmReplica",
    "app": "serving.engines.apps.replica:AppReplica",
}
"""By the engine of a model that Ray Serve runs, the class of its replicas; only they import it."""


def replica_class(engine: str) -> Callable[[HostedModel], EngineReplica]:
    """Returns the class of an engine's replicas, which are made with the model's settings."""
    module, _, name = REPLICAS[engine].partition(":")
    found: Callable[[HostedModel], EngineReplica] = getattr(importlib.import_module(module), name)
    return found
