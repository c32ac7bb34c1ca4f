"""The catalogue: models, assistants, tools and collections."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, model_validator

from serving.config.apps import AppModel
from serving.config.assistant import Assistant
from serving.config.base import NEEDS_TENANTS, CallAccess, Name, Strict
from serving.config.guardrails import ClassifierGuardrail, Guardrail, Guardrails, Instructions
from serving.config.models import Alias, AnsweringModel, names
from serving.config.search import LOCAL_EMBEDDERS, SearchModels
from serving.config.store import Store
from serving.config.tools import TOOLS, CatalogTool, McpTool, SqlTool
from serving.config.vllm import VllmModel

Audience = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=256)]


class KnowledgeAccess(Strict):
    """For whom an assistant may read a collection. Empty lists mean everybody.

    `users` and `groups` require `tenants`, as in `CallAccess`: each tenant's own admins give such names.
    """

    tenants: Audience = Field(default=(), description="tenants whose users can find something in it")
    users: Audience = Field(default=(), description="with `groups`: restricts it to these users")
    groups: Audience = Field(default=(), description="with `users`: restricts it to these groups")

    @model_validator(mode="after")
    def _of_tenants(self) -> Self:
        if (self.users or self.groups) and not self.tenants:
            raise ValueError(NEEDS_TENANTS)
        return self

    def allows(self, tenant: str, user: str, groups: Collection[str]) -> bool:
        """Returns whether assistants may read the collection for a user of a tenant, who is in `groups`."""
        if self.tenants and tenant not in self.tenants:
            return False
        return not (self.users or self.groups) or user in self.users or not set(self.groups).isdisjoint(groups)


class RestrictedCollection(Strict):
    """A collection with restricted access."""

    name: Name
    access: KnowledgeAccess


def never_called(
    models: Sequence[AnsweringModel],
    aliases: Sequence[Alias],
    assistants: Sequence[Assistant],
    tools: Sequence[CatalogTool],
) -> list[tuple[str, str]]:
    """Returns objects that nobody can call, since their audience and that of an object they use are disjoint.

    Each with its location in the configuration, and the problem.
    """
    access = {name: model.access for model in models for name in names(model)}
    loras = [lora for model in models if isinstance(model, VllmModel) for lora in model.loras]
    access |= {lora.name: lora.access for lora in loras if lora.access is not None}
    of_tool = {tool.name: tool.access for tool in tools}
    found = [
        (f"aliases[{i}].{place}", f"access of '{model}' excludes some of those who may call '{alias.name}'")
        for i, alias in enumerate(aliases)
        for place, model in alias.named_models
        if _apart(alias.access, access.get(model))
    ]
    return found + [
        (f"assistants[{i}].tools[{j}]", f"access of '{tool}' excludes some of those who may call '{assistant.name}'")
        for i, assistant in enumerate(assistants)
        for j, tool in enumerate(assistant.tools)
        if _apart(assistant.access, of_tool.get(tool))
    ]


def _apart(one: CallAccess | None, other: CallAccess | None) -> bool:
    """Returns whether two audiences are disjoint, by their tenants."""
    return one is not None and other is not None and set(one.tenants or ()).isdisjoint(other.tenants or ())


def wrong_tasks(
    models: Sequence[AnsweringModel],
    aliases: Sequence[Alias],
    assistants: Sequence[Assistant],
    guardrails: Sequence[Guardrail],
    search: SearchModels,
) -> list[tuple[str, str]]:
    """Returns uses of models for a task that they do not have.

    Each with its location in the configuration, and the problem.
    """
    tasks = {name: model.task for model in models for name in names(model)}
    found = [
        (f"models[{i}].name", f"'{model.name}' is the name of a local embedder")
        for i, model in enumerate(models)
        if model.name in LOCAL_EMBEDDERS
    ]
    chats = [(f"aliases[{i}].{place}", model) for i, alias in enumerate(aliases) for place, model in alias.named_models]
    rails = [("guardrails", guardrails)]
    for i, assistant in enumerate(assistants):
        at = f"assistants[{i}]"
        chats += [(f"{at}.model", assistant.model), (f"{at}.memory.model", getattr(assistant.memory, "model", ""))]
        rails.append((f"{at}.guardrails", assistant.guardrails or ()))
    classifiers = [
        (f"{at}[{i}].model", rail.model)
        for at, them in rails
        for i, rail in enumerate(them)
        if isinstance(rail, ClassifierGuardrail)
    ]
    chats += classifiers
    managed = {alias.name for alias in aliases if alias.managed is not None}
    found += [
        (at, f"the alias '{name}' is managed, and a release must not change what classifies")
        for at, name in classifiers
        if name in managed
    ]
    found += [
        (at, f"the task of the model '{name}' is {tasks[name]}, not chat")
        for at, name in chats
        if tasks.get(name, "chat") != "chat"
    ]
    own = dict.fromkeys(LOCAL_EMBEDDERS, "embed")
    for field, asked, task in (("embedder", search.embedder, "embed"), ("reranker", search.reranker, "rerank")):
        if asked is not None and {**tasks, **own}.get(asked) != task:
            does_not = f"the task of the model '{asked}' is {tasks[asked]}" if asked in tasks else ""
            problem = does_not or f"there is no model '{asked}'"
            there = ", ".join(name for name, does in {**own, **tasks}.items() if does == task)
            found.append((f"retrieval.{field}", f"{problem}; those whose task is {task}: {there or 'none'}"))
    return found


class Catalog(Strict):
    """The part of the configuration that changes often: models, aliases, assistants and tools. Each name is unique."""

    models: tuple[AnsweringModel, ...] = Field(default=(), max_length=256)
    aliases: tuple[Alias, ...] = Field(default=(), max_length=256)
    assistants: tuple[Assistant, ...] = Field(default=(), max_length=256)
    tools: tuple[CatalogTool, ...] = Field(default=(), max_length=64)
    collections: tuple[RestrictedCollection, ...] | None = Field(
        default=None, max_length=256, description="collections with restricted access"
    )
    guardrails: Guardrails = Field(default=(), description="for models, and for assistants without their own")
    instructions: Instructions = Field(
        default="screen",
        description="instructions from callers without the scope `prompt`: checked by guardrails as text of the user, "
        "refused, or trusted",
    )

    search: SearchModels = SearchModels()

    @model_validator(mode="after")
    def _names(self) -> Self:
        wrong = wrong_tasks(self.models, self.aliases, self.assistants, self.guardrails, self.search)
        problems = [f"{at}: {what}" for at, what in wrong]
        models = {name for m in self.models for name in names(m)}
        apps = {m.name for m in self.models if isinstance(m, AppModel)}
        # Apps answer callers only: requests of memory and guardrails need a model.
        of_apps = {a.name for a in self.aliases if any(t.model in apps for t in a.targets)}
        callable_ = (models | {a.name for a in self.aliases}) - apps - of_apps
        seen: set[str] = set()
        for kind, items in (
            ("models", self.models),
            ("aliases", self.aliases),
            ("assistants", self.assistants),
        ):
            for i, item in enumerate(items):
                for name in (item.name,) if isinstance(item, Alias | Assistant) else names(item):
                    if name in seen:
                        problems.append(f"{kind}[{i}].name: '{name}' is used twice")
                    seen.add(name)
        for alias in self.aliases:
            for _, model in alias.named_models:
                if model not in models:
                    problems.append(f"alias '{alias.name}': there is no model '{model}'")
            if alias.managed is not None and any(model in apps for _, model in alias.named_models):
                problems.append(f"alias '{alias.name}': releases are of models, not of apps")
            if alias.name in of_apps and any(t.model not in apps for t in alias.targets):
                problems.append(f"alias '{alias.name}': its targets must be all apps or all models")
        for assistant in self.assistants:
            if assistant.model not in callable_:
                problems.append(f"assistant '{assistant.name}': there is no model or alias '{assistant.model}'")
            helper = getattr(assistant.memory, "model", None)
            if helper is not None and helper not in callable_:
                problems.append(f"assistant '{assistant.name}': there is no model or alias '{helper}' for its memory")
        problems += [
            f"{at}: {what}" for at, what in never_called(self.models, self.aliases, self.assistants, self.tools)
        ]
        known = [*TOOLS, *(tool.name for tool in self.tools)]
        for i, name in enumerate(known):
            if name in known[:i]:
                problems.append(f"tools[{i - len(TOOLS)}].name: '{name}' is used twice")
        for tool in self.tools:
            for name in known if isinstance(tool, McpTool) else ():
                if name.startswith(f"{tool.name}_"):
                    problems.append(f"tools: '{name}' could be a tool of the MCP server '{tool.name}'")
        called: list[tuple[str, Assistant | AppModel]] = [(f"assistant '{a.name}'", a) for a in self.assistants]
        called += [(f"app '{m.name}'", m) for m in self.models if isinstance(m, AppModel)]
        for who, each in called:
            for name in each.tools:
                if name not in known:
                    problems.append(f"{who}: there is no tool '{name}'; there are {', '.join(known)}")
        for where, rails in [("guardrails", self.guardrails)] + [
            (f"assistant '{a.name}'", a.guardrails or ()) for a in self.assistants
        ]:
            for rail in rails:
                if isinstance(rail, ClassifierGuardrail) and rail.model not in callable_:
                    problems.append(f"{where}: there is no model or alias '{rail.model}' for its classifier")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def refuse_own_store(store: Store, catalog: Catalog) -> None:
    """Raises `ValueError` when a tool's database is the stack's own.

    It contains all tenants' conversations, which only the store separates: a model could be made to reveal the data of
    others.
    """
    for tool in catalog.tools:
        if isinstance(tool, SqlTool) and same_database(tool.database, store.database):
            raise ValueError(
                f"the tool '{tool.name}' must not read the stack's own database: what all tenants said is there"
            )


def same_database(one: str, other: str) -> bool:
    """Returns whether two URLs refer to the same database, as far as URLs can tell; an invalid URL equals no other."""
    try:
        return _place(one) == _place(other)
    except ValueError:
        return False


def _place(database: str) -> tuple[object, ...]:
    """Returns what all URLs of one database have in common. Raises `ValueError`."""
    parts = urlsplit(database)
    if parts.scheme.startswith("sqlite"):
        return ("sqlite", Path(unquote(parts.path)[1:]).resolve())
    host = (parts.hostname or "localhost").removesuffix(".")
    host = "localhost" if host in ("127.0.0.1", "::1") else host
    return ("postgresql", host, parts.port or 5432, unquote(parts.path.strip("/")) or parts.username)
