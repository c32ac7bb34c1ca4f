"""What the accountant's gateways serve: two models behind one alias, an assistant, and models that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import Any

from serving.config import (
    Alias,
    Assistant,
    Catalog,
    Embedding,
    EndToEndByLength,
    Limits,
    Managed,
    Objectives,
    Price,
    RemoteModel,
    ServingConfig,
    Target,
    VllmModel,
)

SMALL, LARGE, ALIAS, CLERK, READER, VECTORS, AWAY = "small", "large", "chat", "clerk", "reader", "vectors", "away"
RELEASED = "newest"
"""An alias with a release: its base is the small model, and its canary the large one."""
SHARE = 0.5
"""Of its requests that the canary gets."""
HOSTED = "hosted"
"""A model with two replicas, of which one is gone."""
HERE, GONE = "here", "gone"
LEASED = (HERE, GONE, HERE)
"""The replicas that a gateway leases, over and over: each second request first meets the one that is gone."""
PRICES = {
    SMALL: Price(input=Decimal(300), output=Decimal(1500)),
    LARGE: Price(input=Decimal(500), output=Decimal(2500), currency="EUR"),
    VECTORS: Price(input=Decimal(100), output=Decimal(0)),
}
"""Per million tokens; models that are not here have none."""
MEDIUM = EndToEndByLength(medium=3600, long=3600)
OBJECTIVES = {
    SMALL: Objectives(),
    LARGE: Objectives(first_token_s=1e-6, between_tokens_s=60, end_to_end_s=1e-6, end_to_end_by_length_s=MEDIUM),
    AWAY: Objectives(),
    HOSTED: Objectives(),
}
"""Nobody meets what is asked of the large model, but for its pace, and for the end of answers
that are not short, which everybody meets."""
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
            VllmModel(name=HOSTED, source="file:///models/hosted"),
        ),
        aliases=(
            Alias(name=ALIAS, targets=(Target(model=SMALL), Target(model=LARGE))),
            Alias(name=RELEASED, managed=Managed(base=SMALL, max_canary=SHARE)),
        ),
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


class Replicas:
    """The handle of the model with two replicas, by their addresses; it is asked by one request at a time."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._urls = urls
        self._leased: Iterator[str] = cycle(LEASED)
        self.lease = self

    def options(self, *, stream: bool) -> Replicas:
        assert stream
        return self

    def remote(self, owner: str, user: str) -> Lease:
        replica = next(self._leased)
        return Lease({"url": self._urls[replica], "key": "k", "replica": replica})


class Lease:
    """What Serve returns for a call that yields: what it grants, until it is cancelled."""

    def __init__(self, granted: dict[str, Any]) -> None:
        self._granted = granted

    async def __anext__(self) -> dict[str, Any]:
        return self._granted

    def cancel(self) -> None:
        """Nobody else waits for the place."""


async def deployments(config: ServingConfig, catalog: Catalog) -> tuple[Any, Callable[[str], Any]]:
    """Returns the handle of retrieval, whose replicas are gone, and what returns the handle of a model."""
    urls = {model.name: model.url for model in catalog.models if isinstance(model, RemoteModel)}
    replicas = Replicas({HERE: urls[SMALL], GONE: urls[AWAY]})
    return Away(), lambda name: replicas
