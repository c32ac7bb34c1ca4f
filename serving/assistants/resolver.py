"""From the `model` of a request to what answers it: assistant -> alias -> weighted targets -> model."""

from __future__ import annotations

import random
from dataclasses import dataclass

from serving.config import Alias, Assistant, Catalog, Price, Target, names


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one request; captures record every part of it.

    `model` can be the name of an adapter; `adapts` is then the model that carries it, whose `price` it has.
    """

    requested: str
    assistant: Assistant | None
    alias: str
    model: str
    adapts: str | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of the model list."""

    id: str
    kind: str
    description: str


class Resolver:
    """Names of one catalogue. Immutable: a new catalogue makes a new resolver."""

    def __init__(self, catalog: Catalog) -> None:
        self._assistants = {a.name: a for a in catalog.assistants}
        self._adapts = {name: m.name for m in catalog.models for name in names(m)[1:]}
        self._prices = {name: m.price for m in catalog.models for name in names(m)}
        models = [(name, m.engine) for m in catalog.models for name in names(m)]
        self._aliases = {name: Alias(name=name, targets=(Target(model=name),)) for name, _ in models}
        self._aliases |= {a.name: a for a in catalog.aliases}
        self.listed = tuple(
            [Listed(a.name, "assistant", a.description) for a in catalog.assistants]
            + [Listed(a.name, "alias", "") for a in catalog.aliases]
            + [Listed(name, "model", engine) for name, engine in models]
        )

    def assistant(self, name: str) -> Assistant | None:
        """Returns the assistant of that name, if there is one."""
        return self._assistants.get(name)

    def resolve(self, name: str) -> Route | None:
        """Returns the route of `name`, or None when nothing has that name."""
        assistant = self._assistants.get(name)
        alias = self._aliases.get(assistant.model if assistant else name)
        if alias is None:
            return None
        targets = alias.targets
        target = targets[0]
        if len(targets) > 1:
            target = random.choices(targets, [t.weight for t in targets])[0]  # noqa: S311
        model = target.model
        return Route(name, assistant, alias.name, model, self._adapts.get(model), self._prices[model])
