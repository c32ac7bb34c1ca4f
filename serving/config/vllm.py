"""Models on vLLM."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from serving.config.base import CallAccess, Name, SecretRef, Strict
from serving.config.engines import AdapterBounds, CacheKind, RayServeModel, Tokenizer
from serving.config.start_time import start_seconds


class Geometry(Strict):
    """The numbers of a model that determine its memory; they are in its `config.json`."""

    parameters: int = Field(ge=1, description="number of all weights, including all experts of a mixture")
    layers: int = Field(ge=1, le=4096)
    kv_heads: int = Field(ge=1, le=4096, description="key-value heads of a layer; with GQA fewer than heads")
    head_dim: int = Field(ge=1, le=65536)
    latent_dim: int | None = Field(
        default=None, ge=1, description="with MLA: kv_lora_rank + qk_rope_head_dim, cached instead of keys and values"
    )
    window: int | None = Field(default=None, ge=1, description="tokens of the sliding window of a layer")
    windowed_layers: int | None = Field(default=None, ge=0, description="layers with a sliding window; by default all")
    context: int | None = Field(default=None, ge=1, description="maximum number of tokens of a sequence")
    hidden_size: int | None = Field(default=None, ge=1)
    vocabulary: int | None = Field(
        default=None, ge=1, description="with hidden_size: the embeddings, which are not quantised"
    )

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.windowed_layers is not None and self.window is None:
            raise ValueError("windowed_layers needs window")
        if self.windowed_layers is not None and self.windowed_layers > self.layers:
            raise ValueError("windowed_layers must not be above layers")
        return self


VllmArgument = Annotated[str, StringConstraints(pattern=r"^--[a-z][a-z0-9.-]*(=.*)?$", max_length=10_000)]
"""An additional argument of `vllm serve`, `--flag` or `--flag=value`."""


VLLM_OWN = frozenset(
    {
        # Address, authentication and model name: set by the replica.
        "--api-key",
        "--config",
        "--headless",
        "--host",
        "--port",
        "--root-path",
        "--served-model-name",
        "--ssl-certfile",
        "--ssl-keyfile",
        "--uds",
        # Separate settings of the model.
        "--chat-template",
        "--dtype",
        "--enable-lora",
        "--enforce-eager",
        "--gpu-memory-utilization",
        "--device-memory-utilization",
        "--kv-cache-dtype",
        "--lora-modules",
        "--max-cpu-loras",
        "--max-lora-rank",
        "--max-loras",
        "--max-model-len",
        "--max-num-seqs",
        "--model",
        "--pipeline-parallel-size",
        "--quantization",
        "--revision",
        "--runner",
        "--tensor-parallel-size",
        # Processes or nodes beyond what Ray assigned to the replica.
        "--data-parallel-size",
        "--distributed-executor-backend",
        "--nnodes",
    }
)
"""Flags of vLLM that must not be in `VllmModel.arguments`."""


LINKED_PROGRAM = Path(sys.executable).with_name("vllm")
"""Where `make vllm` links vLLM's build for CPUs."""


OWN_ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "PROMETHEUS_MULTIPROC_DIR", "RAY_", "VLLM_API_KEY")
"""Variables, or prefixes of variables, that the replica sets itself."""


BUCKETS = ("s3://", "gs://", "az://")
STREAMABLE = ("s3://", "gs://")
FETCHED = ("hf://", *BUCKETS)
"""Sources that are on other hosts."""


class Lora(Strict):
    """A LoRA adapter that vLLM loads with its model; requests name it as their model."""

    name: Name
    source: str = Field(
        pattern=r"^(hf|file|s3|gs|az|package)://.+", description="like the source of a model, for example hf://org/name"
    )
    access: CallAccess | None = Field(default=None, description="who may call it; replaces the model's access")


class VllmModel(RayServeModel):
    """A model served by vLLM, as a child process of a Serve replica, on the GPUs of Ray's choice or on CPUs."""

    tokenizer: ClassVar[Tokenizer | None] = "vllm"
    cache_owner: ClassVar[CacheKind] = "salt"

    engine: Literal["vllm"] = "vllm"
    name: Name
    source: str = Field(
        pattern=r"^(hf|file|s3|gs|az|package)://.+",
        description="hf://org/name[@revision], file:///folder, s3:// or gs://bucket/folder, "
        "az://account/container/folder, package://module/folder",
    )
    token: SecretRef | None = Field(
        default=None,
        description="for the source: a token of the Hugging Face Hub; or of a bucket an AWS shared credentials file, "
        "the key of a Google service account, or an Azure account's key or shared access signature",
    )
    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/@]+[^\s@]*$",
        description="URL of a mirror of the Hub, or of an object store that is not the cloud's own",
    )
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]+$", description="region of an s3:// bucket")
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="of a bucket's file SHA256SUMS, which then must name every file",
    )
    load: Literal["fetch", "stream"] | None = Field(
        default=None,
        description="fetch: weights are stored on disk first; stream: vLLM reads s3:// and gs:// into the GPU, as it "
        "does by default without token, endpoint, region and sha256",
    )
    device: Literal["gpu", "cpu"] = Field(
        default="gpu",
        description="cpu, for development and small models: vLLM's build for CPUs, which `make vllm` installs",
    )
    cpu_kv_cache_gib: int | None = Field(
        default=None, ge=1, le=1024, description="memory of the KV cache with device cpu, by default 1"
    )
    tensor_parallel: int = Field(default=1, ge=1, le=64, description="GPUs that each layer is divided over")
    pipeline_parallel: int = Field(
        default=1, ge=1, le=64, description="groups of GPUs that the layers are divided over"
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = "auto"
    quantization: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9_-]{1,64}$",
        description="quantisation; by default that in the model's config.json",
    )
    kv_cache_dtype: str = Field(default="auto", pattern=r"^[a-z0-9_]{1,64}$", description="auto is the model's dtype")
    context: int | None = Field(default=None, ge=16, le=100_000_000, description="tokens; by default the model's own")
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="share of each GPU's memory that vLLM uses"
    )
    max_num_seqs: int = Field(default=128, ge=1, le=65536, description="requests that a replica decodes at once")
    loras: tuple[Lora, ...] = Field(default=(), max_length=256)
    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = 16
    adapters: AdapterBounds | None = Field(
        default=None,
        description="bounds of adapters from the model hub, beside loras; by default there are none",
    )
    enforce_eager: bool = Field(default=False, description="without CUDA graphs: starts faster, decodes slower")
    chat_template: str | None = Field(
        default=None, description="chat template, a file on the node; by default the model's own"
    )
    arguments: tuple[VllmArgument, ...] = Field(
        default=(), max_length=64, description="additional arguments of `vllm serve`"
    )
    environment: dict[str, str] = Field(default_factory=dict, max_length=64, description="never secrets")
    start_timeout_s: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        description="timeout from the start to the first answer; by default 1800 s and what the weights take at "
        "100 MiB/s",
    )
    replicas: int = Field(default=1, ge=1, le=64)
    cpus: float = Field(default=2, gt=0, le=1024, description="CPUs that Ray reserves for a replica")
    max_surge_percent: int = Field(
        default=100, ge=0, le=100, description="additional replicas during an update; 0 if there are no spare GPUs"
    )
    geometry: Geometry | None = Field(
        default=None, description="geometry for checks before a deployment, if config.json is not on this host"
    )
    full_context_requests: int = Field(
        default=1,
        ge=1,
        le=65536,
        description="requests of full length that must fit at once, for checks before a deployment",
    )

    @property
    def concurrency(self) -> int:
        return self.max_num_seqs

    @property
    def request_context(self) -> int | None:
        return self.context

    @property
    def weight_bytes(self) -> int | None:
        """Maximum size of the weights' files in bytes; None if it is unknown.

        They have 16 or 32 bits per weight; quantised ones have fewer, but vLLM can also quantise 16-bit files itself.
        """
        if self.geometry is None:
            return None
        return self.geometry.parameters * (4 if self.dtype in ("float", "float32") else 2)

    def start_within_s(self, stored: int = 0) -> float:
        """Returns the timeout in seconds of vLLM's start; `stored` is the size of its weights in bytes, if known."""
        return self.start_timeout_s or start_seconds(max(self.weight_bytes or 0, stored))

    @property
    def gpus(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel if self.device == "gpu" else 0

    @property
    def host_memory_bytes(self) -> int:
        return (self.cpu_kv_cache_gib or 1) * 2**30 if self.device == "cpu" else 0

    @property
    def remote_sources(self) -> tuple[str, ...]:
        """Sources of weights on other hosts, those of adapters included."""
        sources = (self.source, *(lora.source for lora in self.loras))
        return tuple(dict.fromkeys(source for source in sources if source.startswith(FETCHED)))

    @property
    def identity_sources(self) -> tuple[str, ...]:
        """Sources in buckets that pods open by their cloud identity, since no token is for them."""
        in_buckets = (source for source in self.remote_sources if source.startswith(BUCKETS))
        return tuple(source for source in in_buckets if not (self.token and self.has_own_access(source)))

    @property
    def downloads(self) -> bool:
        return bool(self.remote_sources)

    @property
    def streamed(self) -> bool:
        """Whether vLLM reads the weights from a bucket, without a copy on disk."""
        if self.load is not None or not self.source.startswith(STREAMABLE):
            return self.load == "stream"
        given = (self.token, self.endpoint, self.region, self.sha256)
        return self.device == "gpu" and given == (None,) * len(given)

    @property
    def fetched(self) -> tuple[str, ...]:
        """Sources that a replica copies to disk."""
        return tuple(source for source in self.remote_sources if not (self.streamed and source == self.source))

    def has_own_access(self, source: str) -> bool:
        """Returns whether token, endpoint and region are for a source: the model's own, and adapters of its kind."""
        return source.partition("://")[0] == self.source.partition("://")[0]

    def endpoint_of(self, source: str) -> str | None:
        """Returns the URL of the host that has a source; None: the Hub, or the cloud's own object store."""
        if self.endpoint is not None and self.has_own_access(source):
            return self.endpoint
        return self.environment.get("HF_ENDPOINT") if source.startswith("hf://") else None

    @property
    def surge_percent(self) -> int:
        return self.max_surge_percent

    @field_validator("source")
    @classmethod
    def _source(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if scheme == "hf" and not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", rest):
            raise ValueError("must be hf://organisation/name or hf://organisation/name@revision")
        if scheme in ("s3", "gs", "az"):
            parts = ("account", "container", "folder") if scheme == "az" else ("bucket", "folder")
            given = rest.rstrip("/").split("/")
            if len(given) < len(parts) or not all(re.fullmatch(r"[^\s?#@]+", part) for part in given):
                raise ValueError(f"must be {scheme}://{'/'.join(parts)}")
        if scheme == "file" and not rest.startswith("/"):
            raise ValueError("must have an absolute path: file:///folder")
        return value

    @field_validator("arguments")
    @classmethod
    def _arguments(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            flag = re.split(r"[=.]", argument, maxsplit=1)[0]
            # vLLM accepts any unambiguous prefix of a flag, and --no-flag for its opposite.
            for own in sorted(VLLM_OWN):
                if own.startswith(flag.replace("--no-", "--", 1)):
                    raise ValueError(f"{flag} is {own}, which has a separate setting or is set by the replica")
        return value

    @field_validator("environment")
    @classmethod
    def _environment(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError("names of variables are letters, digits and _")
            if name.startswith(OWN_ENVIRONMENT):
                raise ValueError(f"{name} is set by the replica")
        return value

    @model_validator(mode="after")
    def _of_the_device(self) -> Self:
        if self.device == "gpu" and self.cpu_kv_cache_gib is not None:
            raise ValueError("cpu_kv_cache_gib is for device cpu")
        if self.device == "cpu" and self.load == "stream":
            raise ValueError("weights are streamed into GPUs; with device cpu, use load: fetch")
        of_gpus = (
            "tensor_parallel",
            "pipeline_parallel",
            "gpu_memory_utilization",
            "geometry",
            "full_context_requests",
        )
        for name in of_gpus if self.device == "cpu" else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for device gpu")
        return self

    @model_validator(mode="after")
    def _of_the_source(self) -> Self:
        if self.load is not None and not self.source.startswith(FETCHED if self.load == "fetch" else STREAMABLE):
            of = "hf:// and buckets" if self.load == "fetch" else "s3:// and gs://"
            raise ValueError(f"load: {self.load} is for {of}")
        if self.load == "stream" and (self.token or self.endpoint or self.region or self.sha256):
            raise ValueError("token, endpoint, region and sha256 need load: fetch; vLLM streams as the pods' identity")
        if self.endpoint is not None and not self.source.startswith(FETCHED):
            raise ValueError("endpoint is for hf:// and buckets")
        if self.region is not None and not self.source.startswith("s3://"):
            raise ValueError("region is for s3://")
        if self.sha256 is not None and not self.source.startswith(BUCKETS):
            raise ValueError("sha256 is for buckets; for hf://, name a commit as the revision")
        return self

    @model_validator(mode="after")
    def _lora_names(self) -> Self:
        if self.loras and self.task != "chat":
            raise ValueError("loras apply to models whose task is chat")
        if self.adapters is not None and self.task != "chat":
            raise ValueError("adapters are for models whose task is chat")
        names = [self.name, *(lora.name for lora in self.loras)]
        if len(set(names)) < len(names):
            raise ValueError("a LoRA adapter's name must differ from the model's and from other adapters'")
        return self
