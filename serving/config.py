"""The one contract between infrastructure and serving.

`ServingConfig` is what a stack asks the Serve application to be. It never holds a secret: it holds
`SecretRef`s, since Serve's documents can be read back in plain text. Importing this module loads neither
ray, torch nor lancedb.

The configuration splits by how often it changes. `ServingConfig` itself stands in an application's `args`
(changing it restarts replicas); `Catalog` (models, aliases, assistants) travels in `user_config`, so that a
new prompt restarts nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
"""Name of a model, alias, assistant or collection: lower case, digits and `._-`; 1-63 characters."""


class Strict(BaseModel):
    """Base of every configuration object: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SecretRef(Strict):
    """Where a secret is found: `file:/path` or `env:NAME`. The secret itself is read where it is used.

    On Kubernetes a Secret is mounted as a file, so `file:` covers it.
    """

    ref: str = Field(pattern=r"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$")

    def read(self) -> str:
        """Returns the secret, stripped of surrounding white space.

        Raises `LookupError` (naming the reference, never the value) when it is missing or empty.
        """
        kind, _, target = self.ref.partition(":")
        try:
            value = os.environ[target] if kind == "env" else Path(target).read_text(encoding="utf-8")
        except (KeyError, OSError) as e:
            raise LookupError(f"secret {self.ref} cannot be read: {type(e).__name__}") from None
        if not value.strip():
            raise LookupError(f"secret {self.ref} is empty")
        return value.strip()


class LlamaCppModel(Strict):
    """A GGUF model served by llama.cpp inside a Serve replica, on CPU."""

    engine: Literal["llamacpp"] = "llamacpp"
    name: Name
    source: str = Field(pattern=r"^(package|file)://.+", description="package://module/file or file:///path")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    context: int = Field(default=8192, ge=256, le=1_048_576, description="tokens, shared by all slots")
    slots: int = Field(default=4, ge=1, le=256, description="requests decoded together in one replica")
    threads: int = Field(default=1, ge=1, le=256)
    replicas: int = Field(default=1, ge=1, le=64)
    cpus: float = Field(default=0.4, gt=0, le=256, description="CPUs that Ray reserves for a replica")
    memory_bytes: int = Field(default=600_000_000, ge=0, description="expected resident size, for the fit check")


class RemoteModel(Strict):
    """A model behind any OpenAI-compatible HTTP endpoint."""

    engine: Literal["remote"] = "remote"
    name: Name
    url: str = Field(description="base URL with the version, for example http://127.0.0.1:9000/v1")
    model: str | None = Field(default=None, description="the model's name there; by default its name here")
    api_key: SecretRef | None = None
    connect_timeout_s: float = Field(default=5, gt=0, le=600)
    first_byte_timeout_s: float = Field(default=120, gt=0, le=3600)
    idle_timeout_s: float = Field(default=60, gt=0, le=3600, description="longest gap between two chunks")
    retries: int = Field(default=2, ge=0, le=10, description="further tries before the first byte")
    max_in_flight: int = Field(default=256, ge=1, le=65536, description="requests at once, per gateway replica")

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https URL")
        if parts.username or parts.password:
            raise ValueError("must not contain credentials; use api_key")
        return value.rstrip("/")


Model = Annotated[LlamaCppModel | RemoteModel, Field(discriminator="engine")]


class Target(Strict):
    """One weighted target of an alias."""

    model: Name
    weight: float = Field(default=1, gt=0, le=1e6)


class Alias(Strict):
    """A stable name in front of models: canary and rollback change its targets, never its callers."""

    name: Name
    targets: tuple[Target, ...] = Field(min_length=1, max_length=16)


class Assistant(Strict):
    """The application layer under one model id: prompt, knowledge and generation defaults."""

    name: Name
    model: Name = Field(description="the alias (or model) that answers")
    description: str = Field(default="", max_length=2000)
    prompt: str = Field(default="", max_length=100_000, description="system prompt")
    knowledge: tuple[Name, ...] = Field(default=(), max_length=16, description="collections to search")
    top_k: int = Field(default=4, ge=1, le=50, description="chunks put into the prompt")
    context_tokens: int = Field(default=700, ge=50, le=1_000_000, description="budget of the retrieved text")
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    refusal: str = Field(
        default="I found nothing about this in the documents that I can read.",
        min_length=1,
        max_length=2000,
        description="the answer when retrieval finds nothing good enough",
    )


class Limits(Strict):
    """Bounds of what one request may ask for; over them is a 4xx in OpenAI's error shape."""

    body_bytes: int = Field(default=8_000_000, ge=1024)
    upload_bytes: int = Field(default=64_000_000, ge=1024)
    messages: int = Field(default=2_000, ge=1)
    characters: int = Field(default=2_000_000, ge=1, description="of all messages together")
    json_depth: int = Field(default=64, ge=4, le=512)
    n: int = Field(default=8, ge=1, le=128)
    embedding_inputs: int = Field(default=256, ge=1)
    in_flight: int = Field(default=64, ge=1, description="requests worked on at once, per gateway replica")
    queue: int = Field(default=128, ge=0, description="requests waiting, per gateway replica; more get a 429")
    queue_timeout_s: float = Field(default=30, gt=0)
    body_timeout_s: float = Field(default=30, gt=0, description="longest wait for the rest of a request body")
    lease_timeout_s: float = Field(default=60, gt=0, description="longest wait for a model replica")


class Replicas(Strict):
    """Size of one deployment."""

    replicas: int = Field(ge=1, le=64)
    cpus: float = Field(gt=0, le=256)


class Store(Strict):
    """Where state lives: a relational database and a data folder."""

    database: str = Field(pattern=r"^(sqlite|postgresql)(\+[a-z0-9]+)?://", description="SQLAlchemy URL, no password")
    data: str = Field(pattern=r"^(/|s3://|gs://).+", description="folder or object store for files and collections")


class ServingConfig(Strict):
    """Everything the gateway and retrieval need that changes seldom."""

    store: Store
    key_secret: SecretRef = Field(description="key of the hash under which API keys are stored")
    bootstrap_key: SecretRef | None = Field(default=None, description="the first API key, made by the stack")
    limits: Limits = Limits()
    gateway: Replicas = Replicas(replicas=2, cpus=0.2)
    retrieval: Replicas = Replicas(replicas=1, cpus=0.4)
    multiprocess_dir: str | None = Field(default=None, description="prometheus-client's folder on this node")


class Catalog(Strict):
    """What changes often: models, aliases and assistants. Each name means one thing."""

    models: tuple[Model, ...] = Field(default=(), max_length=256)
    aliases: tuple[Alias, ...] = Field(default=(), max_length=256)
    assistants: tuple[Assistant, ...] = Field(default=(), max_length=256)

    @model_validator(mode="after")
    def _names(self) -> Self:
        problems = []
        models = {m.name for m in self.models}
        callable_ = models | {a.name for a in self.aliases}
        seen: set[str] = set()
        for kind, items in (
            ("models", self.models),
            ("aliases", self.aliases),
            ("assistants", self.assistants),
        ):
            for i, item in enumerate(items):
                if item.name in seen:
                    problems.append(f"{kind}[{i}].name: '{item.name}' is used twice")
                seen.add(item.name)
        for alias in self.aliases:
            for target in alias.targets:
                if target.model not in models:
                    problems.append(f"alias '{alias.name}': there is no model '{target.model}'")
        for assistant in self.assistants:
            if assistant.model not in callable_:
                problems.append(f"assistant '{assistant.name}': there is no model or alias '{assistant.model}'")
        if problems:
            raise ValueError("; ".join(problems))
        return self
