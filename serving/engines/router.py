"""Resolves the `model` of a request: assistant -> alias -> weighted targets -> model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.config import (
    TOOLS,
    Alias,
    AppModel,
    Assistant,
    CallAccess,
    Catalog,
    Embedding,
    Price,
    Target,
    Task,
    names,
)
from serving.core.principal import Principal

BARE_TOOLS: tuple[str, ...] = Assistant.model_fields["tools"].default
"""The tools of `react` if a model is called directly."""


@dataclass(frozen=True, slots=True)
class Route:
    """The resolution of one request; captures record all of it.

    `model` can be the name of an adapter; `adapts` is then its base model, which determines the `price`. `tools` are
    those that its caller may use, and `alternatives` the routes to the alias's other targets. `stores` are vector
    stores of the tenant that the assistant reads with its caller's access, and `own` tells that a tenant created the
    assistant. It may resolve to an `app`.
    """

    requested: str
    assistant: Assistant | None
    alias: str
    model: str
    adapts: str | None = None
    price: Price | None = None
    tools: tuple[str, ...] = ()
    alternatives: tuple[Route, ...] = ()
    stores: tuple[str, ...] = ()
    own: bool = False
    task: Task = "chat"
    embedding: Embedding | None = None
    app: AppModel | None = None

    @property
    def reads(self) -> bool:
        """Whether the assistant answers from documents."""
        return self.assistant is not None and bool(self.assistant.knowledge or self.stores)


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One entry of the model list."""

    id: str
    kind: str
    description: str
    task: Task = "chat"


def may_call(access: CallAccess | None, caller: Principal) -> bool:
    """Returns whether `caller` is in the audience; without `access` everybody is."""
    return access is None or access.allows(caller.tenant, caller.user, caller.groups, caller.role)


class ModelRouter:
    """Resolves the names of one catalogue, depending on the caller. Immutable: a new catalogue needs a new router.

    For a caller, names that it may not call do not exist. Names inside of the configuration are not checked again: an
    assistant's model, and those of its memory and guardrails, serve all who may call the assistant.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._assistants = {a.name: a for a in catalog.assistants}
        self._adapts = {name: m.name for m in catalog.models for name in names(m)[1:]}
        self._models = {name: m for m in catalog.models for name in names(m)}
        self._prices = {name: m.price for m in catalog.models for name in names(m)}
        models = [(name, m.engine) for m in catalog.models for name in names(m)]
        self._aliases = {name: Alias(name=name, targets=(Target(model=name),)) for name, _ in models}
        self._aliases |= {a.name: a for a in catalog.aliases}
        self._apps = {m.name: m for m in catalog.models if isinstance(m, AppModel)}
        self._tools = {tool.name: tool for tool in catalog.tools}
        self._access = {name: m.access for m in catalog.models for name in names(m)}
        loras = [lora for m in catalog.models for lora in getattr(m, "loras", ())]
        self._access |= {lora.name: lora.access for lora in loras if lora.access is not None}
        self._access |= {a.name: a.access for a in catalog.aliases}
        self._access |= {a.name: a.access for a in catalog.assistants}
        self.listed = tuple(
            [ListedModel(a.name, "assistant", a.description) for a in catalog.assistants]
            + [ListedModel(a.name, "alias", "") for a in catalog.aliases]
            + [ListedModel(name, "model", engine, self._models[name].task) for name, engine in models]
        )

    def listed_for(self, caller: Principal) -> list[ListedModel]:
        """Returns all that a caller may call."""
        return [entry for entry in self.listed if self._targets(entry.id, caller)]

    def assistant(self, name: str, caller: Principal) -> Assistant | None:
        """Returns the assistant of that name if the caller may call it, else None."""
        return self._assistants.get(name) if may_call(self._access.get(name), caller) else None

    def composed_assistant(self, name: str) -> Assistant | None:
        """Returns the assistant of that name without a check, for work that follows from an allowed call."""
        return self._assistants.get(name)

    def resolve(self, name: str, caller: Principal) -> Route | None:
        """Returns the route for `name`, or None if there is nothing of that name that the caller may call."""
        targets = self._targets(name, caller)
        return self._route(name, targets, caller) if targets else None

    def composed(self, name: str) -> Route | None:
        """Returns the route for a name used in the configuration itself, whoever the caller is."""
        alias = self._aliases.get(name)
        return self._route(name, alias.targets) if alias is not None else None

    def _targets(self, name: str, caller: Principal) -> Sequence[Target]:
        """Returns the targets of a name for a caller; none if the name does not exist for the caller."""
        if not may_call(self._access.get(name), caller):
            return ()
        assistant = self._assistants.get(name)
        alias = self._aliases.get(assistant.model if assistant is not None else name)
        if alias is None:
            return ()
        if assistant is not None:
            return alias.targets
        return [target for target in alias.targets if may_call(self._access[target.model], caller)]

    def _route(self, name: str, targets: Sequence[Target], caller: Principal | None = None) -> Route:
        assistant = self._assistants.get(name) if caller is not None else None
        target = targets[0]
        if len(targets) > 1:
            target = random.choices(targets, [t.weight for t in targets])[0]  # noqa: S311
        alias = assistant.model if assistant is not None else name
        tools = self._tools_of(target.model, assistant)
        if caller is not None:
            tools = tuple(tool for tool in tools if tool in TOOLS or self._has_tool(tool, caller))
        first, *others = (
            Route(
                name,
                assistant,
                alias,
                model,
                self._adapts.get(model),
                self._prices[model],
                tools,
                task=self._models[model].task,
                embedding=self._models[model].embedding,
                app=self._apps.get(model),
            )
            for model in (target.model, *(each.model for each in targets if each is not target))
        )
        return replace(first, alternatives=tuple(others))

    def _tools_of(self, model: str, assistant: Assistant | None) -> tuple[str, ...]:
        if assistant is not None:
            return assistant.tools
        return self._apps[model].tools if model in self._apps else BARE_TOOLS

    def _has_tool(self, name: str, caller: Principal) -> bool:
        """Returns whether a caller can use a tool of the catalogue: by its access, and its tenant's secrets."""
        tool = self._tools[name]
        return tool.of_tenant(caller.tenant) is not None and may_call(tool.access, caller)
