"""The configuration of the processes."""

from __future__ import annotations

from pydantic import Field

from serving.config.assistant import Capture, Unstored
from serving.config.base import SecretRef, Strict
from serving.config.engines import PromptCache
from serving.config.identity import Cors, Oidc
from serving.config.limits import Limits, Replicas
from serving.config.quotas import Quotas
from serving.config.store import Retention, Store


class Tracing(Strict):
    """Where traces of requests go; without an endpoint there are none."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^/@?#\s]+/[^@?#\s]*$",
        max_length=2000,
        description="URL that takes OTLP over HTTP, with its path: `http://collector:4318/v1/traces`",
    )
    ratio: float = Field(default=1, ge=0, le=1, description="share of the traces that begin here")
    per_second: float = Field(
        default=5, gt=0, le=1000, description="traces that begin at one gateway replica in a second, at most"
    )
    content: bool = Field(default=False, description="spans hold what people and models wrote")


class ServingConfig(Strict):
    """Everything the gateway and retrieval need that changes seldom."""

    store: Store
    key_secret: SecretRef = Field(description="key of the hash under which API keys are stored")
    key_secret_previous: SecretRef | None = Field(
        default=None, description="another one, under which stored keys verify too; used keys change to key_secret"
    )
    bootstrap_key: SecretRef | None = Field(default=None, description="the first API key, made by the stack")
    limits: Limits = Limits()
    capture: Capture = Field(default="all", description="of bare models, and of assistants that do not say")
    store_false: Unstored = Field(default="metadata", description="what is captured where a request says so")
    retention: Retention = Retention()
    oidc: Oidc = Oidc()
    cors: Cors = Cors()
    quotas: Quotas = Quotas()
    prompt_cache: PromptCache = Field(
        default="tenant", description="who shares what engines keep of prompts: a tenant, a user, or no two requests"
    )
    trusted_proxies: int = Field(
        default=0, ge=0, le=16, description="before HAProxy, each of which appends to X-Forwarded-For"
    )
    tracing: Tracing = Tracing()
    gateway: Replicas = Replicas(replicas=2, cpus=0.2)
    retrieval: Replicas = Replicas(replicas=1, cpus=0.4)
    multiprocess_dir: str | None = Field(default=None, description="prometheus-client's folder on this node")
