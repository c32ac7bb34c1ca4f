"""What the accountant's gateways serve: two models behind one alias, an assistant, and models that fail."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from serving.config import (
    Alias,
    Assistant,
    Catalog,
    Embedding,
    Limits,
    Objectives,
    Price,
    RemoteModel,
    ServingConfig,
    Target,
)

SMALL, LARGE, ALIAS, CLERK, READER, VECTORS, AWAY = "small", "large", "chat", "clerk", "reader", "vectors", "away"
PRICES = {
    SMALL: Price(input=Decimal(300), output=Decimal(1500)),
    LARGE: Price(input=Decimal(500), output=Decimal(2500), currency="EUR"),
    VECTORS: Price(input=Decimal(100), output=Decimal(0)),
}
"""Per million tokens; models that are not here have none."""
OBJECTIVES = {
    SMALL: Objectives(),
    LARGE: Objectives(first_token_s=1e-6, between_tokens_s=60, end_to_end_s=1e-6),
    AWAY: Objectives(),
}
"""Nobody meets what is asked of the large model, but for its pace, which everybody meets."""
ACME = "acme"
DEFAULT = "default"
PLACES = 4
"""Requests that a gateway has under way at once."""
LIMITS = Limits(in_flight=PLACES, queue=1, queue_timeout_s=300)


def catalog(engine: int, nobody: int, folder: Path) -> Catalog:
    """Returns what is served, by the engine at one port, or by nobody at the other."""
    url = f"http://127.0.0.1:{engine}/v1"
    return Catalog(
        models=(
            RemoteModel(name=SMALL, url=url, tokenizer="vllm", price=PRICES[SMALL], retries=0),
            RemoteModel(
                name=LARGE, url=url, tokenizer="vllm", price=PRICES[LARGE], objectives=OBJECTIVES[LARGE], retries=0
            ),
            RemoteModel(
                name=VECTORS, url=url, task="embed", embedding=Embedding(dimensions=2), price=PRICES[VECTORS], retries=0
            ),
            RemoteModel(name=AWAY, url=f"http://127.0.0.1:{nobody}/v1", retries=0),
        ),
        aliases=(Alias(name=ALIAS, targets=(Target(model=SMALL), Target(model=LARGE))),),
        assistants=(
            Assistant(name=CLERK, model=SMALL, guardrails=()),
            Assistant(name=READER, model=SMALL, guardrails=(), knowledge=("books",)),
        ),
    )


class Away:
    """A handle of retrieval whose replicas are gone."""

    def __init__(self) -> None:
        self.call = self

    async def remote(self, method: str, *args: object) -> object:
        from ray.serve.exceptions import RayServeException  # not for those who only read what is served

        raise RayServeException(f"nobody does {method}")


async def deployments(config: ServingConfig, catalog: Catalog) -> tuple[Any, Callable[[str], Any]]:
    """Returns the handle of retrieval, and what returns the handle of a model: there are none."""
    return Away(), lambda name: None
