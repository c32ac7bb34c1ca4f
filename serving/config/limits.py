"""Limits of requests, and sizes of deployments."""

from __future__ import annotations

from pydantic import Field, field_validator

from serving.config.base import Strict
from serving.config.scaling import Autoscaling, Hosted


class Limits(Strict):
    """Limits of one request; beyond them it gets a 4xx in OpenAI's error format."""

    body_bytes: int = Field(default=8_000_000, ge=1024)
    upload_bytes: int = Field(default=64_000_000, ge=1024)
    messages: int = Field(default=2_000, ge=1)
    characters: int = Field(default=2_000_000, ge=1, description="characters of all messages")
    json_depth: int = Field(default=64, ge=4, le=512)
    json_containers: int = Field(default=100_000, ge=1, description="objects and lists in a body")
    n: int = Field(default=8, ge=1, le=128)
    attached_files: int = Field(default=50, ge=1, le=500, description="files of a request that creates a vector store")
    document_characters: int = Field(
        default=20_000_000,
        ge=1,
        le=20_000_000,
        description="characters of the text of a file in a vector store, whatever its size",
    )
    assistants: int = Field(default=100, ge=0, le=10_000, description="assistants that a tenant can create")
    embedding_inputs: int = Field(default=2048, ge=1)
    in_flight: int = Field(default=64, ge=1, description="concurrent requests per gateway replica")
    background_in_flight: int = Field(
        default=8,
        ge=1,
        description="concurrent background requests per gateway replica; at most half of in_flight",
    )
    background_responses: int = Field(
        default=500, ge=1, description="unfinished background responses of a tenant; more get a 429"
    )
    background_bytes: int = Field(
        default=32_000_000, ge=1024, description="bytes of the requests of a tenant's unfinished background responses"
    )
    queue: int = Field(default=128, ge=0, description="waiting requests per gateway replica; more get a 429")
    queue_timeout_s: float = Field(default=30, gt=0)
    body_timeout_s: float = Field(default=30, gt=0, description="timeout of receiving a request body")
    lease_timeout_s: float = Field(default=60, gt=0, description="timeout of waiting for a model replica")
    stream_keep_s: float = Field(
        default=120, gt=0, le=3600, description="how long a resumable stream is kept after its end"
    )
    stream_buffer_bytes: int = Field(
        default=1_000_000, ge=1024, description="buffer of one resumable stream, which keeps the newest bytes"
    )
    stream_buffers_bytes: int = Field(
        default=64_000_000, ge=1024, description="buffers of all resumable streams per gateway replica"
    )


class Replicas(Hosted):
    """Size of one deployment."""

    replicas: int = Field(ge=1, le=64)
    cpus: float = Field(gt=0, le=256)

    @field_validator("autoscaling")
    @classmethod
    def _of_no_model(cls, value: Autoscaling | None) -> Autoscaling | None:
        if value is not None and value.min_replicas == 0:
            raise ValueError("min_replicas must be 1 or more: only models scale to zero")
        if value is not None and value.measured is not None:
            raise ValueError("measured is for models: this has no objectives, so set target_ongoing_requests")
        return value
