"""The one contract between infrastructure and serving.

`ServingConfig` is what a stack asks the Serve application to be. It never holds a secret: it holds
`SecretRef`s, since Serve's documents can be read back in plain text. Importing this module loads neither
ray, torch nor lancedb.

The configuration splits by how often it changes. `ServingConfig` itself stands in an application's `args`
(changing it restarts replicas); `Catalog` (models, aliases, assistants) travels in `user_config`, so that a
new prompt restarts nothing.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Sequence, Set
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal, Self, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from serving import url

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
"""Name of a model, alias, assistant or collection: lower case, digits and `._-`; 1-63 characters."""


REVISION_WAIT_S = 150  # kubelets look every minute, and what they know may be a minute old


class Strict(BaseModel):
    """Base of every configuration object: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Role = Literal["user", "operator", "admin"]
"""What a person or a program is in a tenant; each may do all that the one before may.

A user has what is their own and what was shared with them. An operator also sees what the tenant's users spend and how
it goes, an admin also manages its users, keys and budgets.
"""

ROLES: tuple[Role, ...] = get_args(Role)


class SecretRef(Strict):
    """Where a secret is found: `file:/path` or `env:NAME`. The secret itself is read where it is used.

    On Kubernetes a Secret is mounted as a file, so `file:` covers it.
    """

    ref: str = Field(pattern=r"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$")

    def read(self) -> str:
        """Returns the secret, stripped of surrounding white space.

        Where `HEADRACE_SECRETS_REVISION` is set, a file `revision` beside the secret's must say the same: kubelets
        bring a changed Secret to running pods within about a minute, and a replica that starts before would go on
        with the old one. So it waits.

        Raises `LookupError` (naming the reference, never the value) when it is missing or empty, or stays old.
        """
        kind, _, target = self.ref.partition(":")
        try:
            if kind == "file":
                _await_revision(Path(target).with_name("revision"))
            value = os.environ[target] if kind == "env" else Path(target).read_text(encoding="utf-8")
        except (KeyError, OSError) as e:
            raise LookupError(f"secret {self.ref} cannot be read: {type(e).__name__}") from None
        if not value.strip():
            raise LookupError(f"secret {self.ref} is empty")
        return value.strip()


_current: set[Path] = set()


def _await_revision(file: Path) -> None:
    wanted = os.environ.get("HEADRACE_SECRETS_REVISION")
    if not wanted or file in _current or not file.exists():
        return
    deadline = time.monotonic() + REVISION_WAIT_S
    while (found := file.read_text(encoding="utf-8").strip()) != wanted:
        if time.monotonic() > deadline:
            raise LookupError(f"secrets in {file.parent} are of revision {found}, not yet of {wanted}")
        time.sleep(1)
    _current.add(file)


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := next((name for n, name in enumerate(names) if name in names[:n]), None):
        raise ValueError(f"names '{twice}' twice")
    return names


AccessName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
"""Id of a tenant, as the API takes it."""

AccessTenants = Annotated[tuple[Tenant, ...], Field(min_length=1, max_length=256), AfterValidator(_once)]
AccessNames = Annotated[tuple[AccessName, ...], Field(min_length=1, max_length=256), AfterValidator(_once)]
AccessRoles = Annotated[tuple[Role, ...], Field(min_length=1, max_length=3), AfterValidator(_once)]


NEEDS_TENANTS = "needs tenants: another tenant's admin can give the same names, groups and roles"


class CallAccess(Strict):
    """Who may call something: for anybody else it is not there.

    `tenants` says whose users; with `users`, `groups` or `roles` only those of them whom one of the three names. They
    need `tenants`: names, groups and roles are given by each tenant's own admins.
    """

    tenants: AccessTenants | None = Field(default=None, description="whose users may call it")
    users: AccessNames | None = Field(default=None, description="with `groups` and `roles`: who of those")
    groups: AccessNames | None = Field(default=None, description="with `users` and `roles`: who of those")
    roles: AccessRoles | None = Field(default=None, description="with `users` and `groups`: who of those")

    @model_validator(mode="after")
    def _says_who(self) -> Self:
        if self.tenants is None and self.users is None and self.groups is None and self.roles is None:
            raise ValueError("names nobody; leave access out for everybody")
        if self.tenants is None:
            raise ValueError(NEEDS_TENANTS)
        return self

    def allows(self, tenant: str, user: str, groups: Collection[str], role: Role) -> bool:
        """Whether a user of a tenant, who has a role and is in `groups`, may call what this stands at."""
        if self.tenants is None or tenant not in self.tenants:
            return False
        if self.users is None and self.groups is None and self.roles is None:
            return True
        named = user in (self.users or ()) or role in (self.roles or ())
        return named or not set(self.groups or ()).isdisjoint(groups)


class Restrictable(Strict):
    """What can be called by its name, by everybody unless `access` says who."""

    access: CallAccess | None = Field(
        default=None, description="who may call it: for others it is not there; by default everybody"
    )


class TenantSecrets(Strict):
    """Secrets of tenants: each tenant's own is used for its users."""

    tenants: dict[Tenant, SecretRef] = Field(min_length=1, max_length=1024, description="each tenant's")
    default: SecretRef | None = Field(
        default=None, description="of all other tenants; without one the tool is not there for them"
    )

    def of(self, tenant: str) -> SecretRef | None:
        """Returns the secret that is used for a tenant, None where there is none."""
        return self.tenants.get(tenant, self.default)


def _secret_kind(value: object) -> str:
    per_tenant = isinstance(value, TenantSecrets) or (isinstance(value, dict) and {"tenants", "default"} & set(value))
    return "by tenant" if per_tenant else "one"


HeaderSecret = Annotated[
    Annotated[SecretRef, Tag("one")] | Annotated[TenantSecrets, Tag("by tenant")], Discriminator(_secret_kind)
]
"""A secret of everybody's, or one of each tenant."""


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
    def _whole(self) -> Self:
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


class LlamaCppModel(Hosted, Priced, Restrictable):
    """A GGUF model served by llama.cpp inside a Serve replica, on CPU."""

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


Tokenizer = Literal["llamacpp", "vllm"]
"""Whose HTTP routes count the tokens of a prompt."""


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


class RemoteModel(Priced, Restrictable):
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


class Geometry(Strict):
    """The numbers of a model that decide how much memory it needs; they stand in its `config.json`."""

    parameters: int = Field(ge=1, description="of all weights, experts of a mixture included")
    layers: int = Field(ge=1, le=4096)
    kv_heads: int = Field(ge=1, le=4096, description="key-value heads of a layer; fewer than heads with GQA")
    head_dim: int = Field(ge=1, le=65536)
    latent_dim: int | None = Field(
        default=None, ge=1, description="with MLA: kv_lora_rank + qk_rope_head_dim, cached instead of keys and values"
    )
    window: int | None = Field(default=None, ge=1, description="tokens that a layer with a sliding window looks back")
    windowed_layers: int | None = Field(default=None, ge=0, description="layers with that window; by default all")
    context: int | None = Field(default=None, ge=1, description="tokens of its longest sequence")
    hidden_size: int | None = Field(default=None, ge=1)
    vocabulary: int | None = Field(default=None, ge=1, description="with hidden_size: what quantisation leaves alone")

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.windowed_layers is not None and self.window is None:
            raise ValueError("windowed_layers needs window")
        if self.windowed_layers is not None and self.windowed_layers > self.layers:
            raise ValueError("windowed_layers must not be above layers")
        return self


VllmArgument = Annotated[str, StringConstraints(pattern=r"^--[a-z][a-z0-9.-]*(=.*)?$", max_length=10_000)]
"""One further argument of `vllm serve`, `--flag` or `--flag=value`."""

VLLM_OWN = frozenset(
    {
        # Where it listens, who may ask, and what names the model: the replica decides.
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
        # Settings of their own.
        "--chat-template",
        "--dtype",
        "--enable-lora",
        "--enforce-eager",
        "--gpu-memory-utilization",
        "--device-memory-utilization",
        "--kv-cache-dtype",
        "--lora-modules",
        "--max-lora-rank",
        "--max-loras",
        "--max-model-len",
        "--max-num-seqs",
        "--model",
        "--pipeline-parallel-size",
        "--quantization",
        "--revision",
        "--tensor-parallel-size",
        # Processes or nodes beyond what Ray assigned to the replica.
        "--data-parallel-size",
        "--distributed-executor-backend",
        "--nnodes",
    }
)
"""Flags of vLLM that `VllmModel.arguments` must not touch."""

OWN_ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "PROMETHEUS_MULTIPROC_DIR", "RAY_", "VLLM_API_KEY")
"""Variables, or beginnings of their names, that the replica sets itself."""


class Lora(Strict):
    """A LoRA adapter that vLLM loads beside its model; requests name it as their model."""

    name: Name
    source: str = Field(
        pattern=r"^(hf|file|package)://.+", description="hf://org/name, file:///folder or package://module/folder"
    )
    access: CallAccess | None = Field(default=None, description="who may call it, instead of the model's access")


class VllmModel(Hosted, Priced, Restrictable):
    """A model served by vLLM, as a child process of a Serve replica, on the GPUs that Ray assigned to it."""

    engine: Literal["vllm"] = "vllm"
    name: Name
    source: str = Field(
        pattern=r"^(hf|file|s3|gs|package)://.+",
        description="hf://org/name[@revision], file:///folder, s3:// or gs://bucket/folder, package://module/folder",
    )
    token: SecretRef | None = Field(default=None, description="of the Hugging Face Hub, for a gated model")
    tensor_parallel: int = Field(default=1, ge=1, le=64, description="GPUs that share every layer")
    pipeline_parallel: int = Field(default=1, ge=1, le=64, description="groups of GPUs that share the layers out")
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = "auto"
    quantization: str | None = Field(
        default=None, pattern=r"^[a-z0-9_-]{1,64}$", description="by default what the model's config.json says"
    )
    kv_cache_dtype: str = Field(default="auto", pattern=r"^[a-z0-9_]{1,64}$", description="auto is the model's dtype")
    context: int | None = Field(default=None, ge=16, le=100_000_000, description="tokens; by default the model's own")
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="share of each GPU's memory to use")
    max_num_seqs: int = Field(default=128, ge=1, le=65536, description="requests decoded together in one replica")
    loras: tuple[Lora, ...] = Field(default=(), max_length=256)
    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = 16
    enforce_eager: bool = Field(default=False, description="no CUDA graphs: starts sooner, decodes slower")
    chat_template: str | None = Field(default=None, description="a file of the node; by default the model's own")
    arguments: tuple[VllmArgument, ...] = Field(default=(), max_length=64, description="of `vllm serve`, besides these")
    environment: dict[str, str] = Field(default_factory=dict, max_length=64, description="never secrets")
    start_timeout_s: float = Field(default=1800, gt=0, le=86_400, description="from start to the first answer")
    replicas: int = Field(default=1, ge=1, le=64)
    cpus: float = Field(default=2, gt=0, le=1024, description="CPUs that Ray reserves for a replica")
    max_surge_percent: int = Field(
        default=100, ge=0, le=100, description="more replicas during an update; 0 where there are no GPUs to spare"
    )
    geometry: Geometry | None = Field(default=None, description="for the fit check, where config.json is not here")
    full_context_requests: int = Field(
        default=1, ge=1, le=65536, description="requests of full length that must fit at once, for the fit check"
    )

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.pipeline_parallel

    @field_validator("source")
    @classmethod
    def _source(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if scheme == "hf" and not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", rest):
            raise ValueError("must be hf://organisation/name or hf://organisation/name@revision")
        if scheme == "file" and not rest.startswith("/"):
            raise ValueError("must have an absolute path: file:///folder")
        return value

    @field_validator("arguments")
    @classmethod
    def _arguments(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            flag = re.split(r"[=.]", argument, maxsplit=1)[0]
            # vLLM takes any unambiguous beginning of a flag for the flag, and --no-flag for its opposite.
            for own in sorted(VLLM_OWN):
                if own.startswith(flag.replace("--no-", "--", 1)):
                    raise ValueError(f"{flag} is {own}, which has a setting of its own or is set by the replica")
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
    def _lora_names(self) -> Self:
        names = [self.name, *(lora.name for lora in self.loras)]
        if len(set(names)) < len(names):
            raise ValueError("a LoRA adapter's name must differ from the model's and from other adapters'")
        return self


class KServeCanary(Strict):
    """A second version beside the first, which gets a share of the requests that come through KServe's route."""

    storage: str = Field(pattern=r"^[a-z][a-z0-9+.-]*://.+")
    percent: int = Field(ge=0, le=100, description="of the requests")


class KServeScaling(Bounds):
    """Bounds and metric of the autoscaling that KServe sets up for a model."""

    metric: Literal["cpu", "memory"] = Field(default="cpu", description="what the Kubernetes autoscaler looks at")
    target: int = Field(default=80, ge=1, le=100, description="percent of the replicas' request to aim at")


class KServeModel(Priced, Restrictable):
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


HostedModel = Annotated[LlamaCppModel | VllmModel, Field(discriminator="engine")]
"""A model that runs inside a replica of Ray Serve."""

Model = Annotated[LlamaCppModel | VllmModel | KServeModel | RemoteModel, Field(discriminator="engine")]


def names(model: Model) -> tuple[str, ...]:
    """The names under which a model answers: its own, then those of its adapters."""
    adapters = model.loras if isinstance(model, VllmModel) else ()
    return (model.name, *(a.name for a in adapters))


class Target(Strict):
    """One weighted target of an alias."""

    model: Name
    weight: float = Field(default=1, gt=0, le=1e6)


class Alias(Restrictable):
    """A stable name in front of models: canary and rollback change its targets, never its callers.

    Targets that a caller may not call are not used for that caller; an alias without any other is not there.
    """

    name: Name
    targets: tuple[Target, ...] = Field(min_length=1, max_length=16)


class NoMemory(Strict):
    """Each request stands alone; its turns are stored all the same."""

    kind: Literal["none"] = "none"


class BufferMemory(Strict):
    """The newest turns, as far as the model's context holds them."""

    kind: Literal["buffer"] = "buffer"
    turns: int = Field(default=10, ge=1, le=10_000, description="a turn is a question with all that follows it")


class TokenWindowMemory(Strict):
    """As many of the newest turns as `tokens`, and the model's context, hold."""

    kind: Literal["token_window"] = "token_window"
    tokens: int = Field(default=4096, ge=1, le=100_000_000)


class Compressing(Strict):
    """What every memory has that keeps a summary."""

    summary_tokens: int = Field(default=256, ge=16, le=8192, description="longest summary, at most 1/4 of the context")
    model: Name | None = Field(default=None, description="the alias (or model) that summarises; else the assistant's")


class SummaryMemory(Compressing):
    """A summary of the conversation so far, and the newest turn."""

    kind: Literal["summary"] = "summary"


class SummaryWindowMemory(Compressing):
    """As many of the newest turns as `tokens` hold, and a summary of those before them."""

    kind: Literal["summary_window"] = "summary_window"
    tokens: int = Field(default=2048, ge=1, le=100_000_000)


class FactsMemory(Strict):
    """What is known about the user, who reads and edits it under `/v1/memories`, and the newest turns."""

    kind: Literal["facts"] = "facts"
    turns: int = Field(default=10, ge=0, le=10_000, description="newest turns, as they were said")
    tokens: int = Field(default=512, ge=1, le=1_000_000, description="of the facts that the model is told")
    limit: int = Field(default=100, ge=1, le=1000, description="facts kept; of those that a model found the oldest go")
    model: Name | None = Field(default=None, description="the alias (or model) that finds facts; else the assistant's")


class VectorMemory(Strict):
    """Past turns that are like the question, and the newest turns."""

    kind: Literal["vector"] = "vector"
    turns: int = Field(default=4, ge=0, le=10_000, description="newest turns, as they were said")
    top_k: int = Field(default=4, ge=1, le=50, description="past turns, at most")
    min_score: float = Field(default=0.3, ge=-1, le=1, description="least cosine between a past turn and the question")
    tokens: int = Field(default=1024, ge=1, le=1_000_000, description="of the past turns together")
    scope: Literal["conversation", "principal"] = Field(
        default="conversation", description="this conversation, or all that the user had with the assistant"
    )
    keep: int = Field(default=2000, ge=1, le=10_000, description="newest turns of a conversation that can be found")


Memory = Annotated[
    NoMemory | BufferMemory | TokenWindowMemory | SummaryMemory | SummaryWindowMemory | VectorMemory | FactsMemory,
    Field(discriminator="kind"),
]
"""What of a conversation a model is shown again. Turns are shown whole or not at all."""


Capture = Literal["all", "none"]
"""Which completions are stored with all that led to them."""

Unstored = Literal["metadata", "none"]
"""What is captured of a request with `store: false`: who asked which model when and what it cost, or nothing."""


class Template(Strict):
    """A prompt with named places, such as `{question}`; a brace that stands for itself is doubled."""

    name: Name
    version: int = Field(ge=1, le=1_000_000)
    text: str = Field(min_length=1, max_length=20_000)

    @field_validator("text")
    @classmethod
    def _plain(cls, value: str) -> str:
        try:
            places = [place for place in Formatter().parse(value) if place[1] is not None]
        except ValueError as e:
            raise ValueError(f"its braces are wrong: {e}") from None
        for _, name, spec, conversion in places:
            if not re.fullmatch(r"[a-z_]{1,32}", name or "") or spec or conversion:
                raise ValueError("a place is a name in braces and nothing else, such as {question}")
        return value

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of its places, in order."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.text) if name is not None)


def _with(*variables: str) -> AfterValidator:
    """Refuses a template in which not each of `variables`, and nothing else, stands once."""

    def check(template: Template) -> Template:
        if sorted(template.variables) != sorted(variables):
            wanted = ", ".join(f"{{{name}}}" for name in variables)
            raise ValueError(f"the template '{template.name}' must have each of these places once: {wanted}")
        return template

    return AfterValidator(check)


QuestionTemplate = Annotated[Template, _with("question")]
ToolsTemplate = Annotated[Template, _with("tools", "question")]

ToolName = Literal["calculator", "python", "retrieval", "time"]
"""A tool that is built in."""

Approval = Literal["tainted", "always", "never"]
"""When somebody must approve of a call: of one with effects after the model has read what others wrote, or always."""


TOOLS: tuple[ToolName, ...] = get_args(ToolName)


class _Tool(Restrictable):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="as the model calls it")
    description: str = Field(min_length=1, max_length=2000, description="tells the model what it is for")
    approval: Approval = Field(
        default="tainted",
        description="when a call waits for approval: `tainted` is one that changes something after the model has "
        "read what others wrote",
    )

    @field_validator("name")
    @classmethod
    def _own_name(cls, value: str) -> str:
        if value in TOOLS:
            raise ValueError("must not be the name of a tool that is built in")
        return value


def _prefix(value: str) -> str:
    try:
        found = url.parse(value)
    except url.BadUrl as e:
        raise ValueError(f"must be a URL that everybody reads alike: {e}") from None
    if found.query is not None or "#" in value:
        raise ValueError("must end with its path")
    return str(found)


UrlPrefix = Annotated[str, AfterValidator(_prefix)]
"""Scheme, host, port and the beginning of a path, by whole segments."""

HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

OWN_HEADERS = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers of a request that say how it is sent, or where to."""


def _sent(
    headers: dict[str, HeaderSecret], own: Set[str] = frozenset(), prefix: str | None = None
) -> dict[str, HeaderSecret]:
    """Returns headers that may be sent: `own` and those that begin with `prefix` are the gateway's too."""
    for name in headers:
        lower = name.lower()
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", name):
            raise ValueError("names of headers are letters, digits and -")
        if lower in OWN_HEADERS | own or (prefix is not None and lower.startswith(prefix)):
            raise ValueError(f"{name} is set by the gateway")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header is named twice")
    return headers


class _Sender(_Tool):
    headers: dict[str, HeaderSecret]

    @model_validator(mode="after")
    def _used(self) -> Self:
        allowed = self.access.tenants if self.access is not None else None
        for name, secret in self.headers.items():
            for tenant in secret.tenants if isinstance(secret, TenantSecrets) and allowed is not None else ():
                if tenant not in (allowed or ()):
                    raise ValueError(f"headers.{name}.tenants has '{tenant}', whom access.tenants leaves out")
        return self

    @property
    def secrets(self) -> dict[str, SecretRef]:
        """The headers of a tool that `of_tenant` returned."""
        found = {name: secret for name, secret in self.headers.items() if isinstance(secret, SecretRef)}
        if len(found) < len(self.headers):
            raise AssertionError("which tenant's secrets are sent is not decided yet")
        return found

    def of_tenant(self, tenant: str) -> Self | None:
        """Returns the tool with the secrets that are used for a tenant, None where it has not all of them."""
        if all(isinstance(secret, SecretRef) for secret in self.headers.values()):
            return self
        found = {name: s if isinstance(s, SecretRef) else s.of(tenant) for name, s in self.headers.items()}
        return self.model_copy(update={"headers": found}) if None not in found.values() else None

    @property
    def variants(self) -> list[Self]:
        """The tool with the secrets of each tenant that has some of its own, and of all others."""
        named = {tenant for s in self.headers.values() if isinstance(s, TenantSecrets) for tenant in s.tenants}
        # No tenant's name is empty.
        return [found for tenant in ("", *sorted(named)) if (found := self.of_tenant(tenant)) is not None]


class HttpTool(_Sender):
    """HTTP requests to URLs that are allowed; what comes back is shown to the model as text."""

    kind: Literal["http"] = "http"
    allow: tuple[UrlPrefix, ...] = Field(
        min_length=1, max_length=64, description="beginnings of URLs, such as https://api.example.com/v1"
    )
    methods: tuple[HttpMethod, ...] = Field(
        default=("GET",), min_length=1, max_length=6, description="all but GET and HEAD change something"
    )
    headers: dict[str, HeaderSecret] = Field(
        default_factory=dict,
        max_length=16,
        description="sent with each request, never shown to the model: secrets of everybody's, or one of each tenant",
    )
    private: bool = Field(default=False, description="whether hosts may be on loopback or in private networks")
    timeout_s: float = Field(default=8, gt=0, le=600, description="of one call, redirects included")
    max_bytes: int = Field(default=200_000, ge=1000, le=5_000_000, description="of a body that are read")
    max_redirects: int = Field(default=0, ge=0, le=5, description="each to a URL that is allowed")

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, HeaderSecret]) -> dict[str, HeaderSecret]:
        return _sent(value)


def _is_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


class SqlTool(_Tool):
    """Queries of a database that can do nothing but read."""

    kind: Literal["sql"] = "sql"
    database: str = Field(
        pattern=r"^(sqlite:////|postgresql://).+",
        max_length=1000,
        description="sqlite:////file or postgresql://user@host/database, without a password",
    )
    password: SecretRef | None = Field(default=None, description="of the database's user")
    tables: tuple[Annotated[str, StringConstraints(pattern=r"^\w{1,63}(\.\w{1,63})?$")], ...] = Field(
        default=(), max_length=32, description="tables and views that the model is told of, with their columns"
    )
    max_rows: int = Field(default=50, ge=1, le=1000, description="of a result that are shown")
    timeout_s: float = Field(default=5, gt=0, le=600, description="of one query")

    @field_validator("database")
    @classmethod
    def _database(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.password is not None:
            raise ValueError("must not contain a password; use password")
        given = {pair.partition("=")[0] for pair in parts.query.split("&") if pair}
        if given - {"sslmode", "sslrootcert"} or parts.fragment:
            raise ValueError("takes the parameters sslmode and sslrootcert alone")
        if parts.scheme == "sqlite" and given:
            raise ValueError("sqlite takes no parameters")
        if parts.scheme == "postgresql" and not (parts.username and parts.hostname and parts.path.strip("/")):
            raise ValueError("must name user, host and database: postgresql://user@host/database")
        if parts.scheme == "postgresql" and ("," in unquote(parts.netloc) or not _is_port(parts)):
            raise ValueError("must name one host, and a port from 1 to 65535 if any")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.password is not None and self.database.startswith("sqlite"):
            raise ValueError("password is for PostgreSQL")
        return self


ServersTool = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""Name of a tool, as an MCP server has it."""


class McpTool(_Sender):
    """The tools of an MCP server, which is reached by Streamable HTTP; a model sees them as `<name>_<tool>`."""

    kind: Literal["mcp"] = "mcp"
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="the beginning of its tools' names")
    description: str = Field(default="", max_length=2000, description="what the model is told while it cannot be used")
    url: str = Field(description="its endpoint, such as https://tools.example.com/mcp")
    headers: dict[str, HeaderSecret] = Field(
        default_factory=dict,
        max_length=16,
        description="sent with each request, such as Authorization: secrets of everybody's, or one of each tenant",
    )
    tools: tuple[ServersTool, ...] | None = Field(
        default=None, min_length=1, max_length=64, description="those that may be called; by default all, 64 at most"
    )
    read_only: tuple[ServersTool, ...] = Field(
        default=(),
        max_length=64,
        description="those that change nothing; what the server says of them does not count",
    )
    private: bool = Field(default=False, description="whether it may be on loopback or in private networks")
    timeout_s: float = Field(default=8, gt=0, le=600, description="of one call, and of asking what its tools are")
    max_bytes: int = Field(default=1_000_000, ge=10_000, le=64_000_000, description="of one answer")

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return str(url.parse(value))

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, HeaderSecret]) -> dict[str, HeaderSecret]:
        return _sent(value, {"accept", "content-type"}, "mcp-")

    @model_validator(mode="after")
    def _vouched(self) -> Self:
        unknown = sorted(set(self.read_only) - set(self.tools)) if self.tools is not None else []
        if unknown:
            raise ValueError(f"read_only names what tools leaves out: {', '.join(unknown)}")
        return self


CatalogTool = Annotated[HttpTool | SqlTool | McpTool, Field(discriminator="kind")]
"""A tool of the stack's own, or what a server of tools has."""


class Effort(Strict):
    """What an answer may take; what is found until then is the answer, marked as cut short."""

    seconds: float = Field(default=120, gt=0, le=3600)
    tokens: int = Field(
        default=32_768,
        ge=1,
        le=100_000_000,
        description="read and written by the model, which is asked no more after them",
    )


class _Thinks(Strict):
    cot_template: QuestionTemplate | None = Field(default=None, description="asks to think step by step")


class _Votes(_Thinks):
    samples: int = Field(default=5, ge=2, le=64, description="answers that vote")
    vote_temperature: float = Field(default=0.7, gt=0, le=2, description="of the samples: they must differ")


class _Acts(Strict):
    steps: int = Field(default=6, ge=1, le=64, description="times that the model may say what to do next")
    tool_calls: int = Field(default=12, ge=1, le=256)
    tool_seconds: float = Field(default=10, gt=0, le=600, description="of one call")
    tool_characters: int = Field(
        default=24_000, ge=1000, le=1_000_000, description="of what the tools say, together: 4000 of one call at most"
    )
    protocol: Literal["text", "tools"] = Field(
        default="text",
        description="`tools` for an engine that calls tools as OpenAI's API has it; any model can `text`",
    )
    react_template: ToolsTemplate | None = Field(default=None, description="asks for Thought, Action, Action Input")


class Direct(Strict):
    """The model answers at once."""

    kind: Literal["direct"] = "direct"


class ChainOfThought(Effort, _Thinks):
    """The model thinks step by step, then answers."""

    kind: Literal["cot"] = "cot"


class SelfConsistency(Effort, _Votes):
    """The answer that most of several chains of thought come to."""

    kind: Literal["self_consistency"] = "self_consistency"


class ProgramAided(Effort):
    """The model writes a program; what it returns is the answer."""

    kind: Literal["pal"] = "pal"
    repairs: int = Field(default=1, ge=0, le=8, description="times that a failed program may be written again")
    pal_template: QuestionTemplate | None = Field(default=None, description="asks for the program")


class React(Effort, _Acts):
    """The model thinks, calls a tool, reads what came of it, and so on until it answers."""

    kind: Literal["react"] = "react"


class ReactCotSc(Effort, _Votes, _Acts):
    """ReAct and self-consistency: the second answers where the first cannot.

    ReAct cannot when `steps` end without an answer; self-consistency when fewer than half of the samples agree.
    """

    kind: Literal["react_cot_sc"] = "react_cot_sc"
    first: Literal["react", "self_consistency"] = "react"


Reasoning = ChainOfThought | SelfConsistency | ProgramAided | React | ReactCotSc
"""A strategy with steps."""

Strategy = Annotated[Direct | Reasoning, Field(discriminator="kind")]
"""How an assistant comes to its answer."""

StrategyKind = Literal["direct", "cot", "self_consistency", "pal", "react", "react_cot_sc"]

STRATEGIES: tuple[StrategyKind, ...] = get_args(StrategyKind)


GuardedText = Literal["input", "output", "context"]
"""What a request says, what a model says, and what retrieval and tools bring."""

GuardAction = Literal["block", "redact", "flag"]
"""Refuse, take out what was found, or let it pass; each is counted and recorded."""

PersonalData = Literal["email", "phone", "iban", "card", "ip", "national_id"]

Phrase = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]

Host = Annotated[
    str,
    StringConstraints(
        pattern=r"^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$", max_length=253
    ),
]
"""A host in lower case, or `*.` and a domain for all hosts below it."""


class _Guardrail(Strict):
    action: GuardAction = Field(default="block", description="refuse, take out what was found, or record it alone")


class InjectionGuardrail(_Guardrail):
    """Text that tries to give the model other instructions, by heuristics."""

    check: Literal["injection"] = "injection"
    on: tuple[Literal["input", "context"], ...] = Field(default=("input", "context"), min_length=1, max_length=2)


class SecretsGuardrail(_Guardrail):
    """Keys, tokens, private keys and passwords."""

    check: Literal["secrets"] = "secrets"
    on: tuple[GuardedText, ...] = Field(default=("input", "output", "context"), min_length=1, max_length=3)
    action: GuardAction = Field(default="redact", description="refuse, take out what was found, or record it alone")


class PiiGuardrail(_Guardrail):
    """Personal data that has a form or a checksum."""

    check: Literal["pii"] = "pii"
    on: tuple[GuardedText, ...] = Field(default=("input", "output", "context"), min_length=1, max_length=3)
    action: GuardAction = Field(default="redact", description="refuse, take out what was found, or record it alone")
    kinds: tuple[PersonalData, ...] = Field(default=get_args(PersonalData), min_length=1, max_length=6)


class LinksGuardrail(_Guardrail):
    """Links and images to hosts that are not allowed, or with data in their address."""

    check: Literal["links"] = "links"
    on: tuple[Literal["output"], ...] = Field(default=("output",), min_length=1, max_length=1)
    action: GuardAction = Field(default="redact", description="refuse, take out what was found, or record it alone")
    allow: tuple[Host, ...] = Field(
        default=(), max_length=256, description="hosts, such as example.com or *.example.com"
    )
    max_data: int = Field(default=128, ge=0, le=8192, description="characters of an address's query and fragment")


class TopicsGuardrail(_Guardrail):
    """Topics that are denied, or the only ones allowed: by words, and by likeness of a text to descriptions."""

    check: Literal["topics"] = "topics"
    on: tuple[Literal["input", "output"], ...] = Field(default=("input",), min_length=1, max_length=2)
    words: tuple[Phrase, ...] = Field(default=(), max_length=256, description="words and phrases that are denied")
    deny: tuple[Phrase, ...] = Field(default=(), max_length=64, description="topics, each in a few words")
    allow: tuple[Phrase, ...] = Field(default=(), max_length=64, description="if any: topics of which a text must be")
    min_score: float = Field(default=0.45, ge=-1, le=1, description="least cosine between a text and a topic of it")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.words or self.deny or self.allow):
            raise ValueError("name words, deny or allow")
        if (self.deny or self.allow) and self.action == "redact":
            raise ValueError("a topic is a whole text's: block or flag it; words can be redacted")
        return self


class ClassifierGuardrail(Strict):
    """A model that says whether a text is safe."""

    check: Literal["classifier"] = "classifier"
    on: tuple[Literal["input", "output"], ...] = Field(default=("input",), min_length=1, max_length=2)
    action: Literal["block", "flag"] = "block"
    model: Name = Field(description="the alias (or model) that is asked")
    api: Literal["moderations", "chat"] = Field(
        default="chat",
        description="OpenAI's moderations, or a chat model that says safe or unsafe, as Llama Guard does",
    )
    categories: tuple[Annotated[str, StringConstraints(min_length=1, max_length=64)], ...] = Field(
        default=(), max_length=64, description="those that count; by default all"
    )
    timeout_s: float = Field(default=5, gt=0, le=60, description="of one question")
    max_characters: int = Field(
        default=20_000, ge=100, le=1_000_000, description="of a text; a longer one is a failure"
    )
    on_failure: Literal["block", "allow"] = Field(default="block", description="what a missing verdict means")


Guardrail = Annotated[
    InjectionGuardrail | SecretsGuardrail | PiiGuardrail | LinksGuardrail | TopicsGuardrail | ClassifierGuardrail,
    Field(discriminator="check"),
]
"""A check of what goes into a model or comes out of it."""

Guardrails = Annotated[tuple[Guardrail, ...], Field(max_length=16)]

Instructions = Literal["screen", "refuse", "trust"]
"""What becomes of instructions (messages of `system` and `developer`, and `instructions`) of callers whose key lacks
the scope `prompt`: guardrails check them as text of the user, they are refused, or they are trusted as the operator's.
"""


class Assistant(Restrictable):
    """The application layer under one model id: prompt, knowledge and generation defaults.

    Its own `access` alone says who may call it, whatever its model's says; of its tools a caller gets those that the
    tools' `access` allows.
    """

    name: Name
    model: Name = Field(description="the alias (or model) that answers")
    description: str = Field(default="", max_length=2000)
    prompt: str = Field(default="", max_length=100_000, description="system prompt")
    knowledge: tuple[Name, ...] = Field(default=(), max_length=16, description="collections to search")
    top_k: int = Field(default=4, ge=1, le=50, description="chunks put into the prompt")
    context_tokens: int = Field(default=700, ge=50, le=1_000_000, description="budget of the retrieved text")
    memory: Memory = Field(default=TokenWindowMemory(), description="of the conversation that a request names")
    capture: Capture | None = Field(default=None, description="instead of the stack's capture")
    strategy: Strategy = Field(default=Direct(), description="how it comes to its answers")
    strategies: tuple[StrategyKind, ...] = Field(
        default=STRATEGIES, max_length=len(STRATEGIES), description="what a request may choose instead"
    )
    tools: tuple[str, ...] = Field(
        default=("calculator", "python", "time"),
        max_length=32,
        description="what `react` may call: `calculator`, `python`, `retrieval`, `time`, and tools of `headrace:tools`",
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    refusal: str = Field(
        default="I found nothing about this in the documents that I can read.",
        min_length=1,
        max_length=2000,
        description="the answer when retrieval finds nothing good enough",
    )
    guardrails: Guardrails | None = Field(default=None, description="instead of the stack's guardrails")
    instructions: Instructions | None = Field(default=None, description="instead of the stack's instructions")
    spotlight: Literal["none", "delimit", "datamark"] = Field(
        default="none",
        description="how retrieved text and what tools say are set apart from instructions: between random marks, or "
        "with a random mark between all words, which takes twice the tokens",
    )

    @model_validator(mode="after")
    def _tools_fit(self) -> Self:
        if len(set(self.tools)) < len(self.tools):
            raise ValueError("a tool is named twice")
        if "retrieval" in self.tools and not self.knowledge:
            raise ValueError("the tool retrieval needs knowledge to search")
        if isinstance(self.strategy, React | ReactCotSc) and not self.tools:
            raise ValueError(f"the strategy {self.strategy.kind} needs tools")
        return self


class Limits(Strict):
    """Bounds of what one request may ask for; over them is a 4xx in OpenAI's error shape."""

    body_bytes: int = Field(default=8_000_000, ge=1024)
    upload_bytes: int = Field(default=64_000_000, ge=1024)
    messages: int = Field(default=2_000, ge=1)
    characters: int = Field(default=2_000_000, ge=1, description="of all messages together")
    json_depth: int = Field(default=64, ge=4, le=512)
    json_containers: int = Field(default=100_000, ge=1, description="objects and lists in a body")
    n: int = Field(default=8, ge=1, le=128)
    attached_files: int = Field(default=50, ge=1, le=500, description="files that a new vector store names at most")
    embedding_inputs: int = Field(default=256, ge=1)
    in_flight: int = Field(default=64, ge=1, description="requests worked on at once, per gateway replica")
    queue: int = Field(default=128, ge=0, description="requests waiting, per gateway replica; more get a 429")
    queue_timeout_s: float = Field(default=30, gt=0)
    body_timeout_s: float = Field(default=30, gt=0, description="longest wait for the rest of a request body")
    lease_timeout_s: float = Field(default=60, gt=0, description="longest wait for a model replica")
    stream_keep_s: float = Field(
        default=120, gt=0, le=3600, description="a resumable stream is kept this long after its end"
    )
    stream_buffer_bytes: int = Field(default=1_000_000, ge=1024, description="kept of one resumable stream: the newest")
    stream_buffers_bytes: int = Field(
        default=64_000_000, ge=1024, description="kept of all resumable streams, per gateway replica"
    )


class Replicas(Hosted):
    """Size of one deployment."""

    replicas: int = Field(ge=1, le=64)
    cpus: float = Field(gt=0, le=256)

    @field_validator("autoscaling")
    @classmethod
    def _never_zero(cls, value: Autoscaling | None) -> Autoscaling | None:
        if value is not None and value.min_replicas == 0:
            raise ValueError("min_replicas must be 1 or more: only models scale to zero")
        return value


class Store(Strict):
    """Where state lives: a relational database, and a folder or bucket for files and collections.

    An object store's credentials come from the pod's workload identity or from the environment, never from here:
    `AWS_SHARED_CREDENTIALS_FILE`, or `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; `GOOGLE_APPLICATION_CREDENTIALS`;
    `AZURE_STORAGE_ACCOUNT_KEY`.
    """

    database: str = Field(pattern=r"^(sqlite|postgresql)(\+[a-z0-9]+)?://", description="SQLAlchemy URL, no password")
    password: SecretRef | None = Field(default=None, description="of the database's user")
    tls: Literal["prefer", "require", "verify-ca", "verify-full"] | None = Field(
        default=None, description="libpq's sslmode for PostgreSQL; by default what the URL says, or prefer"
    )
    tls_ca: str | None = Field(default=None, pattern=r"^/.+", description="file of the CA's certificate, PEM")
    connections: int = Field(default=4, ge=1, le=100, description="to PostgreSQL at once, per replica")
    statement_timeout_s: float = Field(default=30, gt=0, le=3600, description="of one statement in PostgreSQL")
    migrate: bool = Field(
        default=True, description="replicas bring the schema up to date; false where `serving.store migrate` does"
    )
    data: str = Field(
        pattern=r"^(/|(s3|gs)://[^/]|az://[^/]+/[^/]).*",
        description="folder, s3:// or gs://bucket/prefix, or az://account/container/prefix, for files and collections",
    )
    endpoint: str | None = Field(
        default=None, pattern=r"^https?://[^/@]+/?$", description="URL of an object store that is not the cloud's own"
    )
    s3_region: str | None = Field(default=None, pattern=r"^[a-z0-9-]+$")
    s3_path_style: bool = Field(default=True, description="https://endpoint/bucket, not https://bucket.endpoint")

    @field_validator("database")
    @classmethod
    def _database(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.password is not None or re.search(r"[?&](password|passfile)=", value):
            raise ValueError("must not contain a password; use store.password")
        return value

    @field_validator("data")
    @classmethod
    def _data(cls, value: str) -> str:
        if "?" in value or "#" in value or "@" in value.rpartition("://")[2].partition("/")[0]:
            raise ValueError("must be a folder, or bucket and prefix alone")
        return value.rstrip("/") or "/"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.database.startswith("sqlite"):
            for name in ("password", "tls", "tls_ca"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for PostgreSQL")
        return self

    @property
    def in_bucket(self) -> bool:
        """Whether `data` is a bucket."""
        return "://" in self.data


class Retention(Strict):
    """Days after which data of each class goes for ever; null keeps it."""

    conversations: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        description="since a conversation's newest item or a chain's newest response, with captures and feedback",
    )
    captures: float | None = Field(default=90, gt=0, le=36_500, description="since the answer, with its feedback")
    files: float | None = Field(default=None, gt=0, le=36_500, description="since the upload, from every vector store")
    audit: float | None = Field(default=400, gt=0, le=36_500, description="since the event in the audit log")


Window = Literal["minute", "day", "month", "concurrent", "total"]
"""What a quota is for: a minute, a day or a month of the calendar in UTC, all that goes on at once, or all in store."""

Measure = Literal["requests", "tokens", "money", "streams", "files", "attachments", "items", "stored_bytes"]
"""What is counted: `files` that are uploaded, `attachments` of files to vector stores, conversations and `items`
that are added to them by themselves, and `stored_bytes` of files and of what vector stores keep of them."""

STORED: tuple[Measure, ...] = ("files", "attachments", "items", "stored_bytes")
"""What is counted in the transaction that stores it, and is of no model."""

Subject = Literal["tenant", "user", "key", "model"]
"""Whose a quota is; users, keys and models are those of a tenant."""

MONEY_PLACES = 9
"""Decimal places of an amount of money, as of a price."""

MOST_UNITS = 2**53
"""Above every limit, also of money in billionths: JSON readers and databases agree about integers below it."""


class QuotaLimit(Strict):
    """One limit. Money has a currency; streams are counted at once, stored bytes in all, and the rest in a time."""

    window: Window
    measure: Measure
    limit: Decimal = Field(ge=0, description="a whole number, or an amount of money with at most 9 decimal places")
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$", description="of money, its code in ISO 4217")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.measure == "streams") != (self.window == "concurrent"):
            raise ValueError("streams, and they alone, have the window concurrent")
        if (self.measure == "stored_bytes") != (self.window == "total"):
            raise ValueError("stored_bytes, and they alone, have the window total")
        if self.measure == "money" and self.window == "minute":
            raise ValueError("money is for a day or a month")
        if (self.measure == "money") != (self.currency is not None):
            raise ValueError("money, and money alone, has a currency")
        places = MONEY_PLACES if self.measure == "money" else 0
        units = self.limit.scaleb(places) if self.limit.is_finite() else Decimal(MOST_UNITS)
        if units >= MOST_UNITS or units != int(units):
            raise ValueError(f"limit must be below {MOST_UNITS} and have at most {places} decimal places")
        return self

    @property
    def units(self) -> int:
        """The limit as a whole number; of money in billionths of its currency."""
        return int(self.limit.scaleb(MONEY_PLACES) if self.measure == "money" else self.limit)


class Quotas(Strict):
    """What each tenant, user and key may use as long as nobody set another limit for it."""

    tenant: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="of each tenant")
    user: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="of each user")
    key: tuple[QuotaLimit, ...] = Field(default=(), max_length=16, description="of each API key")
    warn_at: float = Field(
        default=0.8, gt=0, le=1, description="share of a day's or month's quota that brings a warning"
    )
    answer_tokens: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="set aside for an answer without max_tokens whose model has no known context",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        subjects: tuple[Subject, ...] = ("tenant", "user", "key")
        for subject in subjects:
            named = [(each.window, each.measure, each.currency) for each in getattr(self, subject)]
            if len(set(named)) < len(named):
                raise ValueError(f"{subject} has two limits of one window and measure")
            for each in getattr(self, subject):
                refuse_measure(subject, each.measure)
        return self


def refuse_measure(subject: Subject, measure: Measure) -> None:
    """Raises `ValueError` where a subject uses nothing of a measure."""
    if subject == "model" and measure in STORED:
        raise ValueError(f"{measure} are of a tenant, a user or a key, and of no model")
    if subject == "key" and measure == "stored_bytes":
        raise ValueError("stored_bytes are of a tenant or a user: what is stored has no key")


Claim = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
"""Name of a claim of a token."""

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""A signature that only its maker can make. HMACs and `none` are not among them."""


class Issuer(Strict):
    """An identity provider that speaks OpenID Connect, and what its tokens mean here."""

    name: Name
    issuer: str = Field(max_length=2048, description="its URL, exactly as its tokens have it")
    client_id: str = Field(pattern=r"^[ -~]{1,256}$", description="what the provider calls this stack")
    client_secret: SecretRef | None = Field(default=None, description="none for a public client: PKCE protects both")
    audience: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^[!-~]+$",
        description="of tokens that the API takes instead of keys; by default it takes none",
    )
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1, max_length=10)
    clock_skew_s: float = Field(default=30, ge=0, le=300, description="by which the provider's clock may be wrong")
    scopes: tuple[Claim, ...] = Field(
        default=("openid", "profile", "email"), max_length=32, description="that a browser's sign-in asks for"
    )
    user_claim: Claim = Field(default="sub", description="what a user is called here; an `email` must be verified")
    groups_claim: Claim = "groups"
    roles: dict[Annotated[str, StringConstraints(min_length=1, max_length=256)], Role] = Field(
        default_factory=dict, max_length=256, description="what a group's members are; of several the highest"
    )
    role: Role | None = Field(default="user", description="of those whose groups have none; null: they do not get in")
    tenant: Name | None = Field(default=None, description="of all who come from there")
    tenant_claim: Claim | None = Field(default=None, description="or the claim that tells it, by `tenants`")
    tenants: dict[Annotated[str, StringConstraints(min_length=1, max_length=256)], Name] = Field(
        default_factory=dict, max_length=1024, description="the tenant of each value of the claim; others do not get in"
    )
    tls_ca: str | None = Field(default=None, pattern=r"^/.+", description="file of its CA's certificate, PEM")

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, value: str) -> str:
        require_secure(value)
        if "?" in value or "#" in value:
            raise ValueError("must have no query and no fragment")
        return value

    @field_validator("scopes")
    @classmethod
    def _scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in value:
            raise ValueError("must have openid")
        return value

    @model_validator(mode="after")
    def _one_tenant(self) -> Self:
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError("needs either tenant or tenant_claim")
        if bool(self.tenants) != (self.tenant_claim is not None):
            raise ValueError("tenant_claim and tenants need each other")
        if self.audience == self.client_id:  # that is the audience of ID tokens, which tell who signed in and no more
            raise ValueError("audience must be another than client_id")
        return self


class Oidc(Strict):
    """Single sign-on by OpenID Connect: browsers get sessions, programs may send tokens instead of keys."""

    url: str = Field(
        default="",
        pattern=r"^(https?://[a-z0-9.:\[\]-]+)?$",
        description="where browsers reach the API, without a path; empty: `ingress.host`, or this host's loopback",
    )
    issuers: tuple[Issuer, ...] = Field(default=(), max_length=16)
    session_hours: float = Field(default=12, gt=0, le=720, description="after which a browser signs in anew")
    idle_minutes: float = Field(default=120, ge=5, le=43_200, description="without a request, after which also")

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if value:
            require_secure(value)
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for what, given in (
            ("name", [i.name for i in self.issuers]),
            ("issuer", [i.issuer for i in self.issuers]),
            # Two providers may call two people the same.
            ("tenant", [t for i in self.issuers for t in {i.tenant, *i.tenants.values()} - {None}]),
        ):
            if twice := next((value for n, value in enumerate(given) if value in given[:n]), None):
                raise ValueError(f"two issuers have the {what} '{twice}'")
        return self


def require_secure(address: str) -> None:
    """Raises `ValueError` unless `address` is an https URL, or an http one of this host alone."""
    parsed = url.parse(address)
    if parsed.scheme != "https" and not _is_this_host(parsed.host):
        raise ValueError("must be https, but for this host")


def _is_this_host(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Cors(Strict):
    """Pages of other origins that may call the API. They use keys or tokens that their own servers or users give."""

    origins: tuple[Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.:\[\]-]{1,255}$")], ...] = Field(
        default=(), max_length=64, description="`https://host`, each exactly; `*` is none"
    )
    credentials: bool = Field(default=False, description="whether they may also use a browser's session")


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


Audience = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=256)]


class KnowledgeAccess(Strict):
    """Who an assistant may read a collection to. An empty list is everybody.

    `users` and `groups` need `tenants`, as in `CallAccess`: each tenant's own admins give such names.
    """

    tenants: Audience = Field(default=(), description="whose users; others find nothing there")
    users: Audience = Field(default=(), description="with `groups`: who of those")
    groups: Audience = Field(default=(), description="with `users`: who of those")

    @model_validator(mode="after")
    def _of_tenants(self) -> Self:
        if (self.users or self.groups) and not self.tenants:
            raise ValueError(NEEDS_TENANTS)
        return self

    def allows(self, tenant: str, user: str, groups: Collection[str]) -> bool:
        """Whether a user of a tenant, who is in `groups`, is told what the collection holds."""
        if self.tenants and tenant not in self.tenants:
            return False
        return not (self.users or self.groups) or user in self.users or not set(self.groups).isdisjoint(groups)


class RestrictedCollection(Strict):
    """A collection that not everybody is told of."""

    name: Name
    access: KnowledgeAccess


def never_called(
    models: Sequence[Model], aliases: Sequence[Alias], assistants: Sequence[Assistant], tools: Sequence[CatalogTool]
) -> list[tuple[str, str]]:
    """Returns what nobody can have called, since its audience and that of what names it exclude each other.

    Each by its place in the configuration, with the problem.
    """
    access = {name: model.access for model in models for name in names(model)}
    loras = [lora for model in models if isinstance(model, VllmModel) for lora in model.loras]
    access |= {lora.name: lora.access for lora in loras if lora.access is not None}
    of_tool = {tool.name: tool.access for tool in tools}
    found = [
        (f"aliases[{i}].targets[{j}].model", f"access of '{target.model}' leaves out whoever may call '{alias.name}'")
        for i, alias in enumerate(aliases)
        for j, target in enumerate(alias.targets)
        if _apart(alias.access, access.get(target.model))
    ]
    return found + [
        (f"assistants[{i}].tools[{j}]", f"access of '{tool}' leaves out whoever may call '{assistant.name}'")
        for i, assistant in enumerate(assistants)
        for j, tool in enumerate(assistant.tools)
        if _apart(assistant.access, of_tool.get(tool))
    ]


def _apart(one: CallAccess | None, other: CallAccess | None) -> bool:
    """Whether nobody is of both audiences, by their tenants."""
    return one is not None and other is not None and set(one.tenants or ()).isdisjoint(other.tenants or ())


class Catalog(Strict):
    """What changes often: models, aliases, assistants and their tools. Each name means one thing."""

    models: tuple[Model, ...] = Field(default=(), max_length=256)
    aliases: tuple[Alias, ...] = Field(default=(), max_length=256)
    assistants: tuple[Assistant, ...] = Field(default=(), max_length=256)
    tools: tuple[CatalogTool, ...] = Field(default=(), max_length=64)
    collections: tuple[RestrictedCollection, ...] | None = Field(
        default=None, max_length=256, description="the collections that not everybody is told of"
    )
    guardrails: Guardrails = Field(default=(), description="of bare models, and of assistants that do not say")
    instructions: Instructions = Field(
        default="screen",
        description="callers' own, without the scope `prompt`: guardrails screen them as text of the user, or they are "
        "refused, or trusted",
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        problems = []
        models = {name for m in self.models for name in names(m)}
        callable_ = models | {a.name for a in self.aliases}
        seen: set[str] = set()
        for kind, items in (
            ("models", self.models),
            ("aliases", self.aliases),
            ("assistants", self.assistants),
        ):
            for i, item in enumerate(items):
                for name in (item.name,) if isinstance(item, Alias | Assistant) else names(item):
                    if name in seen:
                        problems.append(f"{kind}[{i}].name: '{name}' is used twice")
                    seen.add(name)
        for alias in self.aliases:
            for target in alias.targets:
                if target.model not in models:
                    problems.append(f"alias '{alias.name}': there is no model '{target.model}'")
        for assistant in self.assistants:
            if assistant.model not in callable_:
                problems.append(f"assistant '{assistant.name}': there is no model or alias '{assistant.model}'")
            helper = getattr(assistant.memory, "model", None)
            if helper is not None and helper not in callable_:
                problems.append(f"assistant '{assistant.name}': there is no model or alias '{helper}' for its memory")
        problems += [
            f"{at}: {what}" for at, what in never_called(self.models, self.aliases, self.assistants, self.tools)
        ]
        known = [*TOOLS, *(tool.name for tool in self.tools)]
        for i, name in enumerate(known):
            if name in known[:i]:
                problems.append(f"tools[{i - len(TOOLS)}].name: '{name}' is used twice")
        for tool in self.tools:
            for name in known if isinstance(tool, McpTool) else ():
                if name.startswith(f"{tool.name}_"):
                    problems.append(f"tools: '{name}' could be a tool of the MCP server '{tool.name}'")
        for assistant in self.assistants:
            for name in assistant.tools:
                if name not in known:
                    there = ", ".join(known)
                    problems.append(f"assistant '{assistant.name}': there is no tool '{name}'; there are {there}")
        for where, rails in [("guardrails", self.guardrails)] + [
            (f"assistant '{a.name}'", a.guardrails or ()) for a in self.assistants
        ]:
            for rail in rails:
                if isinstance(rail, ClassifierGuardrail) and rail.model not in callable_:
                    problems.append(f"{where}: there is no model or alias '{rail.model}' for its classifier")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def refuse_own_store(store: Store, catalog: Catalog) -> None:
    """Raises `ValueError` when a tool's database is the stack's own.

    There are all tenants' conversations, and only the store keeps them apart: a model could be talked into telling
    one what another said.
    """
    for tool in catalog.tools:
        if isinstance(tool, SqlTool) and same_database(tool.database, store.database):
            raise ValueError(
                f"the tool '{tool.name}' must not read the stack's own database: what all tenants said is there"
            )


def same_database(one: str, other: str) -> bool:
    """Whether two URLs are of one database, as far as URLs can tell; one that is none is of no other's."""
    try:
        return _place(one) == _place(other)
    except ValueError:
        return False


def _place(database: str) -> tuple[object, ...]:
    """Returns what the URLs of one database share. Raises `ValueError`."""
    parts = urlsplit(database)
    if parts.scheme.startswith("sqlite"):
        return ("sqlite", Path(unquote(parts.path)[1:]).resolve())
    host = (parts.hostname or "localhost").removesuffix(".")
    host = "localhost" if host in ("127.0.0.1", "::1") else host
    return ("postgresql", host, parts.port or 5432, unquote(parts.path.strip("/")) or parts.username)
