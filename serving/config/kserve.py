"""Models that run in KServe."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from serving.config.base import Name, Restrictable, SecretRef, Strict
from serving.config.engines import BaseUrl, Priced, RemoteCache
from serving.config.objectives import Judged
from serving.config.scaling import Bounds
from serving.config.tasks import Tasked


class KServeCanary(Strict):
    """A second version that gets a share of the requests through KServe's route."""

    storage: str = Field(pattern=r"^[a-z][a-z0-9+.-]*://.+")
    percent: int = Field(ge=0, le=100, description="percent of the requests")


class KServeScaling(Bounds):
    """Settings of the autoscaling that KServe sets up for a model."""

    metric: Literal["cpu", "memory"] = Field(default="cpu", description="metric of the Kubernetes autoscaler")
    target: int = Field(default=80, ge=1, le=100, description="target in percent of the replicas' requested resources")


class KServeModel(Tasked, Priced, Judged, Restrictable):
    """A model that KServe runs as an InferenceService, in its Standard mode; the gateway relays requests to it."""

    engine: Literal["kserve"] = "kserve"
    name: Name
    existing: str | None = Field(
        default=None,
        pattern=r"^([a-z0-9-]+/)?[a-z0-9-]+$",
        description="an existing InferenceService: [namespace/]name",
    )
    runtime: Name = Field(default="llamacpp", description="vllm, huggingface, llamacpp, or the name of a runtime")
    model_format: str | None = Field(default=None, max_length=64, description="model format of a named runtime")
    storage: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9+.-]*://.+",
        description="URI of the weights, as KServe supports it: hf://, s3://, gs://, pvc://, oci://",
    )
    file: str | None = Field(
        default=None, pattern=r"^[\w.-]+(/[\w.-]+)*$", description="for llamacpp: the GGUF file in the storage"
    )
    pool: Name | None = Field(default=None, description="pool whose nodes run it")
    cpus: float = Field(default=1, gt=0, le=1024, description="CPUs of a replica, as request and limit")
    memory_bytes: int = Field(default=2 * 1024**3, ge=1, description="memory of a replica, as request and limit")
    gpus: int = Field(default=0, ge=0, le=64, description="GPUs of a replica")
    replicas: int = Field(default=1, ge=1, le=64)
    scaling: KServeScaling | None = Field(default=None, description="replaces the fixed number of replicas")
    canary: KServeCanary | None = None
    arguments: tuple[str, ...] = Field(
        default=(), max_length=64, description="additional arguments of the runtime's container"
    )
    service_account: str | None = Field(default=None, description="ServiceAccount with credentials for the storage")
    url: BaseUrl | None = Field(default=None, description="its URL without a path; by default read from its status")
    address: Literal["cluster", "external"] = Field(
        default="cluster",
        description="which address of its status is used: the Service's, or that of its Ingress or Gateway",
    )
    path: str | None = Field(
        default=None, pattern=r"^(/[\w.-]+)+$", description="path of the API; by default the runtime's"
    )
    model: str | None = Field(
        default=None, description="the model's name in the runtime; by default the InferenceService's"
    )
    context: int | None = Field(
        default=None, ge=16, le=100_000_000, description="tokens of one request, which memory may fill"
    )
    api_key: SecretRef | None = None
    ready_timeout_s: float = Field(
        default=1800, gt=0, le=86_400, description="timeout until its condition Ready is true"
    )
    first_byte_timeout_s: float = Field(default=600, gt=0, le=3600)
    idle_timeout_s: float = Field(default=120, gt=0, le=3600, description="maximum time between two chunks")
    max_in_flight: int = Field(default=256, ge=1, le=65536, description="concurrent requests per gateway replica")
    prompt_cache: RemoteCache | None = Field(
        default=None, description="as for a remote model; by default what its runtime supports"
    )

    @property
    def service(self) -> str:
        """Name of the InferenceService."""
        return self.existing.rpartition("/")[2] if self.existing else self.name

    @model_validator(mode="after")
    def _made_or_found(self) -> Self:
        if self.existing:
            given = sorted(
                {"storage", "file", "canary", "scaling", "arguments", "pool", "gpus"} & self.model_fields_set
            )
            if given:
                raise ValueError(f"existing names an InferenceService: remove {', '.join(given)}")
            return self
        # KServe's own rule for names, minus the suffix -predictor in a DNS label.
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,46}[a-z0-9])?", self.name):
            raise ValueError("name must be a DNS label of at most 48 characters: KServe names a Service after it")
        if not self.storage:
            raise ValueError("storage is missing: set it to the weights' URI, or name an existing InferenceService")
        if self.runtime == "llamacpp" and not self.file:
            raise ValueError("file is missing: the llamacpp runtime serves one GGUF file of the storage")
        if self.runtime != "llamacpp" and self.file:
            raise ValueError("file applies to the llamacpp runtime; the others serve the whole folder")
        if self.runtime not in ("vllm", "huggingface", "llamacpp") and not self.model_format:
            raise ValueError("model_format is missing: a named runtime needs a format that it supports")
        return self
