"""Engines, their prices, and their numbers of replicas."""

from __future__ import annotations

import math
from abc import abstractmethod
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from serving.config.base import Name, Restrictable, SecretRef, Strict
from serving.config.objectives import Judged
from serving.config.scaling import Hosted, Scaled
from serving.config.tasks import Tasked

Amount = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=9)]
"""An amount of money: up to 6 digits before the decimal point and 9 after it."""


class Price(Strict):
    """Price of a million tokens of a model, as decimal numbers, which are not rounded to binary."""

    input: Amount | None = Field(default=None, description="price of tokens that the model reads")
    output: Amount | None = Field(default=None, description="price of tokens that the model writes")
    cached_input: Amount | None = Field(
        default=None,
        description="price of cached prompt tokens, if their number is reported (prompt_cache); by default input's",
    )
    per_hour: Amount | None = Field(
        default=None, description="price of a replica, busy or idle; for models that Ray Serve runs"
    )
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="ISO 4217 code of the currency")

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
    """A model with an optional price."""

    price: Price | None = Field(default=None, description="price of its tokens and its adapters'; by default unknown")

    @model_validator(mode="after")
    def _hourly(self) -> Self:
        if self.price is not None and self.price.per_hour is not None and not isinstance(self, Hosted):
            raise ValueError("price.per_hour is for models that Ray Serve runs: llamacpp and vllm")
        return self


class AdapterBounds(Strict):
    """Bounds of the adapters (LoRA) that the model hub adds to a model and removes from it while it serves."""

    max: int = Field(default=8, ge=1, le=64, description="adapters that a replica serves at once")
    rank: Literal[8, 16, 32, 64, 128, 256] = Field(default=16, description="highest rank of an adapter")
    per_tenant: int | None = Field(
        default=None, ge=1, le=64, description="adapters of one tenant that are live at once, by default as many as max"
    )

    @model_validator(mode="after")
    def _tenants_fit(self) -> Self:
        if self.per_tenant is not None and self.per_tenant > self.max:
            raise ValueError(f"per_tenant ({self.per_tenant}) must be at most max ({self.max})")
        return self


Tokenizer = Literal["llamacpp", "vllm"]
"""The API that counts the tokens of a prompt."""


CacheKind = Literal["slot", "salt", "none"]


class RayServeModel(Scaled, Tasked, Priced, Restrictable):
    """A model that Ray Serve's replicas run; the engine's class has the properties that Serve and the gateway need."""

    text_only: ClassVar[bool] = False
    """Whether it only reads text."""
    tokenizer: ClassVar[Tokenizer | None] = None
    cache_owner: ClassVar[CacheKind]
    """How the engine gets the owner of its prompt cache: by the slot of a lease, by a salt in each request, or not at
    all if it has no cache.
    """

    @property
    @abstractmethod
    def request_context(self) -> int | None:
        """Maximum number of tokens of one request with its answer; None if unknown."""

    @property
    def gpus(self) -> int:
        """GPUs per replica."""
        return 0

    @property
    def downloads(self) -> bool:
        """Whether a replica downloads its weights from another host."""
        return False

    @property
    def host_memory_bytes(self) -> int:
        """Expected memory of one replica on the host, without GPU memory; 0 if unknown."""
        return 0

    @property
    def surge_percent(self) -> int:
        """Additional replicas during an update, in percent."""
        return 100

    def surge(self, replicas: int) -> int:
        """Returns the number of additional replicas during an update."""
        return math.ceil(replicas * self.surge_percent / 100)


class LlamaCppModel(RayServeModel):
    """A GGUF model served by llama.cpp, as a child process of a Serve replica, on CPU."""

    text_only: ClassVar[bool] = True
    tokenizer: ClassVar[Tokenizer | None] = "llamacpp"
    cache_owner: ClassVar[CacheKind] = "slot"

    engine: Literal["llamacpp"] = "llamacpp"
    name: Name
    source: str = Field(pattern=r"^(package|file)://.+", description="package://module/file or file:///path")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    context: int = Field(default=8192, ge=256, le=1_048_576, description="tokens, shared by all slots")
    slots: int = Field(default=4, ge=1, le=256, description="requests that a replica decodes at once")
    threads: int = Field(default=1, ge=1, le=256)
    replicas: int = Field(default=1, ge=1, le=64)
    cpus: float = Field(default=0.4, gt=0, le=256, description="CPUs that Ray reserves for a replica")
    memory_bytes: int = Field(
        default=600_000_000,
        ge=0,
        description="expected resident memory, for checks before a deployment; with adapters, of two servers, which "
        "share the weights' pages: other adapters need another server, which starts beside the old one",
    )
    adapters: AdapterBounds | None = Field(
        default=None, description="bounds of adapters from the model hub; by default there are none"
    )
    answer_tokens: int | None = Field(
        default=512,
        ge=1,
        le=1_048_576,
        description="maximum number of tokens of a chat's answer where neither the request nor the assistant says it, "
        "and no tools or response_format need it whole; null: what the context holds",
    )
    repeat_penalty: float = Field(
        default=1.1,
        ge=1,
        le=2,
        description="llama.cpp's penalty of repeated tokens in a chat's answer where neither the request nor the "
        "assistant sets how to sample, and no tools or response_format need exact repetitions; 1: none",
    )
    pooling: Literal["mean", "cls", "last"] | None = Field(
        default=None, description="for task embed: pooling of a text's vectors; by default the file's"
    )

    @property
    def host_memory_bytes(self) -> int:
        return self.memory_bytes

    @model_validator(mode="after")
    def _pooled(self) -> Self:
        if self.pooling is not None and self.task != "embed":
            raise ValueError("pooling is for models whose task is embed")
        return self

    @model_validator(mode="after")
    def _adapted(self) -> Self:
        if self.adapters is not None and self.task != "chat":
            raise ValueError("adapters are for models whose task is chat")
        return self

    @property
    def concurrency(self) -> int:
        return self.slots

    @property
    def request_context(self) -> int:
        return self.context // self.slots  # llama.cpp divides the context equally between slots


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username or parts.password:
        raise ValueError("must not contain credentials; use api_key")
    return value.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""The URL of an engine, without a trailing slash."""


RemoteCache = Literal["shared", "own", "salted", "off"]
"""Properties of a remote engine's prompt cache.

`shared`: others may share it; `own`: only callers who may share data use it; `salted`: it is vLLM's, and separated by a
salt in each request; `off`: it is llama.cpp's, and disabled in each request.
"""


PromptCache = Literal["tenant", "user", "off"]
"""Who shares engines' prompt caches: the users of a tenant, a single user, or no two requests."""


class RemoteModel(Tasked, Priced, Judged, Restrictable):
    """A model behind any OpenAI-compatible HTTP endpoint."""

    engine: Literal["remote"] = "remote"
    name: Name
    url: BaseUrl = Field(description="base URL with the version, for example http://127.0.0.1:9000/v1")
    model: str | None = Field(default=None, description="the model's name at the endpoint; by default its name here")
    context: int | None = Field(
        default=None, ge=16, le=100_000_000, description="tokens of its context, which memory may fill"
    )
    tokenizer: Tokenizer | None = Field(
        default=None, description="API that counts tokens; by default memory uses an upper bound"
    )
    api_key: SecretRef | None = None
    connect_timeout_s: float = Field(default=5, gt=0, le=600)
    first_byte_timeout_s: float = Field(default=120, gt=0, le=3600)
    idle_timeout_s: float = Field(default=60, gt=0, le=3600, description="maximum time between two chunks")
    retries: int = Field(default=2, ge=0, le=10, description="retries before the first byte")
    max_in_flight: int = Field(default=256, ge=1, le=65536, description="concurrent requests per gateway replica")
    prompt_cache: RemoteCache = Field(
        default="shared",
        description="own: only callers who may share data use it; salted: vLLM's, separated by a salt in each request; "
        "off: llama.cpp's, disabled in each request; otherwise shared",
    )

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.price is not None and self.price.cached_input is not None and self.prompt_cache in ("shared", "off"):
            raise ValueError(
                "needs prompt_cache own or salted for price.cached_input: otherwise the number of cached tokens is not "
                "reported"
            )
        return self
