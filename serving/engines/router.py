"""Resolves the `model` of a request: assistant -> alias -> weighted targets -> model."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serving.config import (
    TOOLS,
    Alias,
    AnsweringModel,
    AppModel,
    Assistant,
    CallAccess,
    Catalog,
    Embedding,
    LlamaCppModel,
    Objectives,
    Price,
    Target,
    Task,
    names,
)
from serving.core.principal import Principal
from serving.store.objects.live_adapters import LiveAdapter
from serving.store.prompts.records import PromptVersion

_EXACT = ("tools", "response_format")
"""Fields of a request whose answer is for a program: cut, or without the repetitions of its format, it is no use."""
_SAMPLES_ITSELF = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
"""Fields of a request that sets how to sample."""

DEFAULT_OBJECTIVES = Objectives()
"""Of models that have none of their own."""
BARE_TOOLS: tuple[str, ...] = Assistant.model_fields["tools"].default
"""The tools of `react` if a model is called directly."""


@dataclass(frozen=True, slots=True)
class AnswerDefaults:
    """What a model's configuration says about answers whose request and assistant say nothing themselves."""

    answer_tokens: int | None
    repeat_penalty: float

    def complete(self, document: dict[str, Any]) -> None:
        """Adds the defaults to an engine's request for a chat, whose answer is for a person."""
        if not document.keys().isdisjoint(_EXACT):
            return
        if self.answer_tokens is not None:
            document.setdefault("max_tokens", self.answer_tokens)
        if self.repeat_penalty != 1 and document.keys().isdisjoint(_SAMPLES_ITSELF):
            document["repeat_penalty"] = self.repeat_penalty


@dataclass(frozen=True, slots=True)
class Route:
    """The resolution of one request; captures record all of it.

    `model` can be the name of an adapter; `adapts` is then its base model, which determines the `price` and the
    `objectives`. `tools` are those that its caller may use, and `alternatives` the routes to the alias's other targets.
    `stores` are vector stores of the tenant that the assistant reads with its caller's access, and `own` tells that a
    tenant created the assistant, whose instructions may be a stored `prompt`. It may resolve to an `app`. `grounded`
    tells whether the model can answer from passages, and `context` how many tokens a request has with its answer, if
    that is known before an engine is asked. The models of a `managed` alias change by releases.
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
    prompt: PromptVersion | None = None
    live: bool = False
    task: Task = "chat"
    embedding: Embedding | None = None
    app: AppModel | None = None
    grounded: bool = True
    context: int | None = None
    defaults: AnswerDefaults | None = None
    objectives: Objectives = DEFAULT_OBJECTIVES
    managed: bool = False

    @property
    def served(self) -> str:
        """The configured model that answers: the base model if the target is an adapter."""
        return self.adapts or self.model

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
    starters: tuple[str, ...] = ()


def _defaults(model: AnsweringModel) -> AnswerDefaults | None:
    """Returns what a model of llama.cpp has by default; an answer gets at most half of the context."""
    if not isinstance(model, LlamaCppModel):
        return None
    tokens = min(model.answer_tokens, model.request_context // 2) if model.answer_tokens is not None else None
    return AnswerDefaults(tokens, model.repeat_penalty)


def may_call(access: CallAccess | None, caller: Principal) -> bool:
    """Returns whether `caller` is in the audience; without `access` everybody is."""
    return access is None or access.allows(caller.tenant, caller.user, caller.groups, caller.role)


class ReleasedTargets:
    """From each managed alias to its current targets, for all routers of a gateway. Others have those of the
    configuration.
    """

    def __init__(self) -> None:
        self._targets: Mapping[str, Sequence[Target]] = {}

    def for_alias(self, alias: str) -> Sequence[Target]:
        """Returns the targets of an alias; none if nothing was released."""
        return self._targets.get(alias, ())

    def replace(self, targets: Mapping[str, Sequence[Target]]) -> None:
        """Sets the targets of all managed aliases; requests in progress keep theirs."""
        self._targets = targets


class ModelRouter:
    """Resolves the names of one catalogue, and of adapters that are live, each with the name of its model. Another
    catalogue, and another live set, need a new router; only releases change the targets of managed aliases.

    For a caller, names that it may not call do not exist. Names inside of the configuration are not checked again: an
    assistant's model, and those of its memory and guardrails, serve all who may call the assistant. Live adapters are
    always checked: they exist only for their tenants.
    """

    def __init__(
        self,
        catalog: Catalog,
        live: Iterable[tuple[str, LiveAdapter]] = (),
        *,
        released: ReleasedTargets | None = None,
    ) -> None:
        self._released = released or ReleasedTargets()
        self._assistants = {a.name: a for a in catalog.assistants}
        self._adapts = {name: m.name for m in catalog.models for name in names(m)[1:]}
        self._models = {name: m for m in catalog.models for name in names(m)}
        self._prices = {name: m.price for m in catalog.models for name in names(m)}
        models = [(name, m.engine) for m in catalog.models for name in names(m)]
        self._live: dict[str, frozenset[str]] = {}
        for base, adapter in live:
            model = self._models.get(base)
            if model is not None and adapter.name not in self._models:
                self._adapts[adapter.name] = base
                self._models[adapter.name] = model
                self._prices[adapter.name] = model.price
                self._live[adapter.name] = frozenset(adapter.tenants)
                models.append((adapter.name, model.engine))
        self._aliases = {name: Alias(name=name, targets=(Target(model=name),)) for name, _ in models}
        self._aliases |= {a.name: a for a in catalog.aliases}
        self._apps = {m.name: m for m in catalog.models if isinstance(m, AppModel)}
        self._tools = {tool.name: tool for tool in catalog.tools}
        self._access = {name: m.access for m in catalog.models for name in names(m)}
        loras = [lora for m in catalog.models for lora in getattr(m, "loras", ())]
        self._access |= {lora.name: lora.access for lora in loras if lora.access is not None}
        self._access |= {name: self._models[name].access for name in self._live}
        self._access |= {a.name: a.access for a in catalog.aliases}
        self._access |= {a.name: a.access for a in catalog.assistants}
        self._routes: dict[tuple[str, str, tuple[str, ...], bool], Route] = {}
        self.listed = tuple(
            [ListedModel(a.name, "assistant", a.description, starters=a.starters) for a in catalog.assistants]
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

    def model(self, name: str, caller: Principal) -> AnsweringModel | None:
        """Returns the configured model of that name if the caller may call it, else None."""
        found = self._models.get(name) if may_call(self._access.get(name), caller) else None
        return found if found is not None and found.name == name else None

    def configured(self, name: str) -> AnsweringModel | None:
        """Returns the model that serves a name of a model or of an adapter, whoever may call it."""
        return self._models.get(name)

    def targets(self, name: str) -> Sequence[Target]:
        """Returns the targets of a model or an alias now, whoever may call them; none for other names."""
        alias = self._aliases.get(name)
        return self._released_targets(alias) if alias is not None else ()

    def resolve(self, name: str, caller: Principal) -> Route | None:
        """Returns the route for `name`, or None if there is nothing of that name that the caller may call."""
        targets = self._targets(name, caller)
        return self._route(name, targets, caller) if targets else None

    def composed(self, name: str) -> Route | None:
        """Returns the route for a name used in the configuration itself, whoever the caller is."""
        alias = self._aliases.get(name)
        targets = self._current(alias, None) if alias is not None else ()
        return self._route(name, targets) if targets else None

    def alias(self, name: str, caller: Principal) -> Alias | None:
        """Returns the configured alias of that name if the caller may call it, else None."""
        found = self._aliases.get(name)
        known = found is not None and name not in self._models and may_call(self._access.get(name), caller)
        return found if known else None

    def models(self, caller: Principal | None) -> list[AnsweringModel]:
        """Returns the configured models and apps that a caller may call; all for None."""
        own = [model for name, model in self._models.items() if model.name == name]
        return [model for model in own if caller is None or may_call(self._access.get(model.name), caller)]

    def adapters(self, model: str, caller: Principal | None) -> list[tuple[str, bool]]:
        """Returns the adapters of a model that a caller may call, and whether each is live; all for None."""
        of = [name for name, base in self._adapts.items() if base == model]
        return [(name, name in self._live) for name in of if caller is None or self._targets(name, caller)]

    def adapted(self, name: str) -> str | None:
        """Returns the model that an adapter adapts, None if `name` is not an adapter."""
        return self._adapts.get(name)

    def aliases(self, caller: Principal | None) -> list[tuple[Alias, Sequence[Target]]]:
        """Returns the configured aliases that exist for a caller, with their current targets; all for None."""
        found = [alias for name, alias in self._aliases.items() if name not in self._models]
        pairs = [(a, self._targets(a.name, caller) if caller else self._released_targets(a)) for a in found]
        return [(alias, targets) for alias, targets in pairs if targets]

    def releasable(self, model: str, alias: str) -> bool:
        """Returns whether a release can name `model` for a managed alias: a model for the same task, not an app."""
        found, own = self._models.get(model), self._aliases.get(alias)
        if found is None or own is None or own.managed is None or model in self._apps:
            return False
        return found.task == self._models[own.managed.base].task

    def _targets(self, name: str, caller: Principal) -> Sequence[Target]:
        """Returns the targets of a name for a caller; none if the name does not exist for the caller."""
        if not may_call(self._access.get(name), caller):
            return ()
        assistant = self._assistants.get(name)
        alias = self._aliases.get(assistant.model if assistant is not None else name)
        if alias is None:
            return ()
        targets = self._current(alias, caller.tenant)
        if assistant is not None:
            return targets
        return [target for target in targets if may_call(self._access[target.model], caller)]

    def _current(self, alias: Alias, tenant: str | None) -> Sequence[Target]:
        """Returns an alias's targets: those of a managed one are released, as far as the configuration has them.

        Live adapters are targets for their tenants alone; for others, the configured targets take the place of a
        release that has no other.
        """
        targets = self._released_targets(alias)
        return self._existing(targets, tenant) or self._existing(alias.targets, tenant)

    def _existing(self, targets: Sequence[Target], tenant: str | None) -> Sequence[Target]:
        if not self._live:
            return targets
        return [target for target in targets if target.model not in self._live or tenant in self._live[target.model]]

    def _released_targets(self, alias: Alias) -> Sequence[Target]:
        if alias.managed is None:
            return alias.targets
        if alias.managed.pin is not None:
            return (Target(model=alias.managed.pin),)
        released = self._released.for_alias(alias.name)
        # With one of them left out, a canary could get all requests.
        known = bool(released) and all(self.releasable(target.model, alias.name) for target in released)
        return released if known else alias.targets

    def _route(self, name: str, targets: Sequence[Target], caller: Principal | None = None) -> Route:
        assistant = self._assistants.get(name) if caller is not None else None
        target = targets[0]
        if len(targets) > 1:
            target = random.choices(targets, [t.weight for t in targets])[0]  # noqa: S311
        alias = assistant.model if assistant is not None else name
        tools = self._tools_of(target.model, assistant)
        if caller is not None:
            tools = tuple(tool for tool in tools if tool in TOOLS or self._has_tool(tool, caller))
        first = self._route_to(target.model, name, assistant, alias, tools)
        if len(targets) == 1:
            return first
        others = (each.model for each in targets if each is not target)
        return replace(first, alternatives=tuple(self._route_to(m, name, assistant, alias, tools) for m in others))

    def _route_to(
        self, model: str, name: str, assistant: Assistant | None, alias: str, tools: tuple[str, ...]
    ) -> Route:
        """Returns a route without alternatives, made once for all callers with the same tools."""
        key = name, model, tools, assistant is None
        if (known := self._routes.get(key)) is not None:
            return known
        configured, known_alias = self._models[model], self._aliases.get(alias)
        route = self._routes[key] = Route(
            name,
            assistant,
            alias,
            model,
            self._adapts.get(model),
            self._prices[model],
            tools,
            task=configured.task,
            embedding=configured.embedding,
            app=self._apps.get(model),
            grounded=configured.answers_from_passages,
            context=getattr(configured, "request_context", None) or getattr(configured, "context", None),
            defaults=_defaults(configured),
            live=name in self._live,
            objectives=configured.objectives or DEFAULT_OBJECTIVES,
            managed=known_alias is not None and known_alias.managed is not None,
        )
        return route

    def _tools_of(self, model: str, assistant: Assistant | None) -> tuple[str, ...]:
        if assistant is not None:
            return assistant.tools
        return self._apps[model].tools if model in self._apps else BARE_TOOLS

    def _has_tool(self, name: str, caller: Principal) -> bool:
        """Returns whether a caller can use a tool of the catalogue: by its access, and its tenant's secrets."""
        tool = self._tools[name]
        return tool.of_tenant(caller.tenant) is not None and may_call(tool.access, caller)
