"""Models that KServe hosts."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from serving.config.base import Name, Restrictable, SecretRef, Strict
from serving.config.engines import BaseUrl, Bounds, Priced, RemoteCache
from serving.config.tasks import Tasked


class KServeCanary(Strict):
    """A second version beside the first, which gets a share of the requests that come through KServe's route."""

    storage: str = Field(pattern=r"^[a-z][a-z0-9+.-]*://.+")
    percent: int = Field(ge=0, le=100, description="of the requests")


class KServeScaling(Bounds):
    """Bounds and metric of the autoscaling that KServe sets up for a model."""

    metric: Literal["cpu", "memory"] = Field(default="cpu", description="what the Kubernetes autoscaler looks at")
    target: int = Field(default=80, ge=1, le=100, description="percent of the replicas' request to aim at")


class KServeModel(Tasked, Priced, Restrictable):
    """A model that KServe runs as an InferenceService, in its Standard mode; the gateway relays to its address."""

    engine: Literal["kserve"] = "kserve"
    name: Name
    existing: str | None = Field(
        default=None,
        pattern=r"^([a-z0-9-]+/)?[a-z0-9-]+$",
        description="an InferenceService that is there: [namespace/]name",
    )
    runtime: Name = Field(default="llamacpp", description="vllm, huggingface, llamacpp, or the name of a runtime")
    model_format: str | None = Field(default=None, max_length=64, description="of a runtime that is named")
    storage: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9+.-]*://.+",
        description="hf://, s3://, gs://, pvc://, oci:// as KServe takes them",
    )
    file: str | None = Field(default=None, pattern=r"^[\w.-]+(/[\w.-]+)*$", description="for llamacpp: the GGUF in it")
    pool: Name | None = Field(default=None, description="the group of nodes that runs it")
    cpus: float = Field(default=1, gt=0, le=1024, description="CPUs of a replica, requested and as its limit")
    memory_bytes: int = Field(default=2 * 1024**3, ge=1, description="memory of a replica, requested and as its limit")
    gpus: int = Field(default=0, ge=0, le=64, description="GPUs of a replica")
    replicas: int = Field(default=1, ge=1, le=64)
    scaling: KServeScaling | None = Field(default=None, description="instead of a fixed number of replicas")
    canary: KServeCanary | None = None
    arguments: tuple[str, ...] = Field(default=(), max_length=64, description="further ones of the runtime's container")
    service_account: str | None = Field(default=None, description="with the credentials that storage needs")
    url: BaseUrl | None = Field(default=None, description="its address without path; by default read from its status")
    address: Literal["cluster", "external"] = Field(
        default="cluster",
        description="which address of its status: the Service, or what its Ingress or Gateway answers to",
    )
    path: str | None = Field(default=None, pattern=r"^(/[\w.-]+)+$", description="of the API; by default the runtime's")
    model: str | None = Field(default=None, description="the model's name there; by default the InferenceService's")
    context: int | None = Field(
        default=None, ge=16, le=100_000_000, description="tokens of one request, which memory is planned into"
    )
    api_key: SecretRef | None = None
    ready_timeout_s: float = Field(default=1800, gt=0, le=86_400, description="until its condition Ready is true")
    first_byte_timeout_s: float = Field(default=600, gt=0, le=3600)
    idle_timeout_s: float = Field(default=120, gt=0, le=3600, description="longest gap between two chunks")
    max_in_flight: int = Field(default=256, ge=1, le=65536, description="requests at once, per gateway replica")
    prompt_cache: RemoteCache | None = Field(
        default=None, description="as of a remote model; by default what its runtime can do"
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
                raise ValueError(f"existing names one that is there: leave out {', '.join(given)}")
            return self
        # KServe's own rule for the name, and room for the suffix -predictor in a DNS label.
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,46}[a-z0-9])?", self.name):
            raise ValueError("name must be a DNS label of at most 48 characters: KServe names a Service after it")
        if not self.storage:
            raise ValueError("storage is missing: say where the weights are, or name an existing InferenceService")
        if self.runtime == "llamacpp" and not self.file:
            raise ValueError("file is missing: the llamacpp runtime serves one GGUF file of the storage")
        if self.runtime != "llamacpp" and self.file:
            raise ValueError("file is for the llamacpp runtime; the others serve the whole folder")
        if self.runtime not in ("vllm", "huggingface", "llamacpp") and not self.model_format:
            raise ValueError("model_format is missing: a named runtime is chosen for a format that it supports")
        return self
