"""Engines that host or reach a model, what they cost, and how many there are."""

from __future__ import annotations

import math
from abc import abstractmethod
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from serving.config.base import Name, Restrictable, SecretRef, Strict
from serving.config.tasks import Tasked


class Bounds(Strict):
    """Between how many replicas an autoscaler moves."""

    min_replicas: int = Field(default=1, ge=1, le=64)
    max_replicas: int = Field(ge=1, le=64)

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas must not be above max_replicas")
        return self


class Autoscaling(Bounds):
    """Bounds and pace of Serve's autoscaling, which follows the requests that are in flight or wait."""

    min_replicas: int = Field(default=1, ge=0, le=64, description="0, for models only: the first request starts one")
    target_ongoing_requests: float = Field(default=2, gt=0, le=65536, description="requests per replica to aim at")
    upscale_delay_s: float = Field(
        default=10, ge=0, le=86_400, description="load lasts this long before a replica more"
    )
    downscale_delay_s: float = Field(default=300, ge=0, le=86_400, description="and idleness before one less")


class Hosted(Strict):
    """Where Serve runs the replicas of a deployment; the replicas themselves never see this."""

    pool: Name = Field(default="serving", description="the group of nodes that runs it, on Kubernetes")
    autoscaling: Autoscaling | None = Field(default=None, description="instead of a fixed number of replicas")


Amount = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=9)]
"""Of money: up to 6 digits before the point and 9 after it."""


class Price(Strict):
    """What a million tokens of a model cost, as decimal numbers: no amount is rounded to binary."""

    input: Amount | None = Field(default=None, description="of tokens that the model reads")
    output: Amount | None = Field(default=None, description="of tokens that the model writes")
    cached_input: Amount | None = Field(
        default=None,
        description="of tokens that it has read before, where callers are told of them (prompt_cache); else input's",
    )
    per_hour: Amount | None = Field(
        default=None, description="of a replica, whether it works or not: its GPUs or CPUs; for models that run here"
    )
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="its code in ISO 4217")

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if (self.input is None) != (self.output is None):
            raise ValueError("needs input and output together")
        if self.input is None and self.cached_input is not None:
            raise ValueError("cached_input needs input and output")
        if self.input is None and self.per_hour is None:
            raise ValueError("needs input and output, or per_hour")
        return self


class Priced(Strict):
    """What tokens may have a price."""

    price: Price | None = Field(default=None, description="of its tokens and its adapters'; by default unknown")

    @model_validator(mode="after")
    def _hourly(self) -> Self:
        if self.price is not None and self.price.per_hour is not None and not isinstance(self, Hosted):
            raise ValueError("price.per_hour is for models that Ray Serve runs: llamacpp and vllm")
        return self


Tokenizer = Literal["llamacpp", "vllm"]
"""Whose HTTP routes count the tokens of a prompt."""


CacheKind = Literal["slot", "salt", "none"]


class RayServeModel(Hosted, Tasked, Priced, Restrictable):
    """A model that replicas of Ray Serve run; the class of its engine says what Serve and the gateway must know."""

    text_only: ClassVar[bool] = False
    """Whether it reads text alone."""
    tokenizer: ClassVar[Tokenizer | None] = None
    cache_owner: ClassVar[CacheKind]
    """What tells the engine whose its prompt cache is: the slot that a lease grants, a salt in each request, or nothing
    where it keeps none."""

    @property
    @abstractmethod
    def concurrency(self) -> int:
        """Requests that one replica decodes together."""

    @property
    @abstractmethod
    def request_context(self) -> int | None:
        """Tokens of one request with its answer; None where it is not known."""

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return 0

    @property
    def downloads(self) -> bool:
        """Whether a replica fetches its weights from another host."""
        return False

    @property
    def host_memory_bytes(self) -> int:
        """Memory of the host, not of its GPUs, that one replica is expected to hold; 0 where it is not known."""
        return 0

    @property
    def surge_percent(self) -> int:
        """How many replicas more there may be during an update."""
        return 100

    def surge(self, replicas: int) -> int:
        """How many more there may be of so many replicas during an update."""
        return math.ceil(replicas * self.surge_percent / 100)


class LlamaCppModel(RayServeModel):
    """A GGUF model served by llama.cpp inside a Serve replica, on CPU."""

    text_only: ClassVar[bool] = True
    tokenizer: ClassVar[Tokenizer | None] = "llamacpp"
    cache_owner: ClassVar[CacheKind] = "slot"

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
    pooling: Literal["mean", "cls", "last"] | None = Field(
        default=None, description="for task embed, what makes one vector of a text's; by default what its file says"
    )

    @property
    def host_memory_bytes(self) -> int:
        return self.memory_bytes

    @model_validator(mode="after")
    def _pooled(self) -> Self:
        if self.pooling is not None and self.task != "embed":
            raise ValueError("pooling is for models whose task is embed")
        return self

    @property
    def concurrency(self) -> int:
        return self.slots

    @property
    def request_context(self) -> int:
        return self.context // self.slots  # llama.cpp gives each slot an equal part


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username or parts.password:
        raise ValueError("must not contain credentials; use api_key")
    return value.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""The URL of an engine, without a slash at its end."""


RemoteCache = Literal["shared", "own", "salted", "off"]
"""What is known of a remote engine's prompt cache.

`shared`: others may share it; `own`: nobody does from whom anything must be kept; `salted`: it is vLLM's, and parted by
a salt in each request; `off`: it is llama.cpp's, and each request asks it to use none.
"""


PromptCache = Literal["tenant", "user", "off"]
"""Who shares what engines keep of prompts: the users of a tenant, nobody with another user, or no two requests."""


class RemoteModel(Tasked, Priced, Restrictable):
    """A model behind any OpenAI-compatible HTTP endpoint."""

    engine: Literal["remote"] = "remote"
    name: Name
    url: BaseUrl = Field(description="base URL with the version, for example http://127.0.0.1:9000/v1")
    model: str | None = Field(default=None, description="the model's name there; by default its name here")
    context: int | None = Field(
        default=None, ge=16, le=100_000_000, description="tokens of its context, which memory is planned into"
    )
    tokenizer: Tokenizer | None = Field(
        default=None, description="whose routes count tokens there; by default memory goes by an upper bound"
    )
    api_key: SecretRef | None = None
    connect_timeout_s: float = Field(default=5, gt=0, le=600)
    first_byte_timeout_s: float = Field(default=120, gt=0, le=3600)
    idle_timeout_s: float = Field(default=60, gt=0, le=3600, description="longest gap between two chunks")
    retries: int = Field(default=2, ge=0, le=10, description="further tries before the first byte")
    max_in_flight: int = Field(default=256, ge=1, le=65536, description="requests at once, per gateway replica")
    prompt_cache: RemoteCache = Field(
        default="shared",
        description="own: nobody's but the caller's; salted: vLLM's, parted; off: llama.cpp's, unused; else shared",
    )

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.price is not None and self.price.cached_input is not None and self.prompt_cache in ("shared", "off"):
            raise ValueError(
                "needs prompt_cache own or salted for price.cached_input: else nobody is told what was cached"
            )
        return self
