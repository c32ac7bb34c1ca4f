"""Apps: the operator's own chains, agents and functions, which can be called like models."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from serving.config.base import Name, Restrictable
from serving.config.engines import CacheKind, RayServeModel, Tokenizer
from serving.config.scaling import Scaled

AppObject = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", max_length=256)]
"""`module:attribute`, which Python can import."""

NodeName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class AppSettings(Scaled, Restrictable):
    """Settings of an app that its replicas and the gateway need."""

    name: Name
    object: AppObject = Field(description="`module:attribute`: a LangGraph graph, a LangChain runnable, or a function")
    runs: int = Field(default=8, ge=1, le=256, description="runs at once in one replica")
    timeout_s: float = Field(default=300, gt=0, le=3600, description="maximum duration of a run")
    start_timeout_s: float = Field(
        default=600, ge=1, le=3600, description="timeout of installing its requirements and importing its object"
    )
    answer_nodes: tuple[NodeName, ...] = Field(
        default=(), max_length=32, description="nodes of a graph whose tokens form the answer; empty: all nodes"
    )
    tools: tuple[Name, ...] = Field(
        default=(), max_length=64, description="entries of headrace:tools that it may call for its callers"
    )
    replicas: int = Field(default=1, ge=1, le=64)
    cpus: float = Field(default=0.2, gt=0, le=256, description="CPUs that Ray reserves for a replica")
    memory_bytes: int = Field(
        default=300_000_000, ge=0, description="expected resident memory, for checks before a deployment"
    )

    @property
    def concurrency(self) -> int:
        return self.runs


class App(AppSettings):
    """A chain, an agent or a function of your own, in its own deployment; it is called like a model."""

    folder: str | None = Field(
        default=None, min_length=1, description="folder of its source, below the checkout; empty: a package has it"
    )
    requirements: str | None = Field(
        default=None,
        min_length=1,
        description="its locked requirement file, with hashes, in `folder` or below the checkout; "
        "empty: it uses the packages of the serving environment",
    )


class AppModel(AppSettings, RayServeModel):
    """An app in the form for Serve and the gateway; `archive` is its source with its requirement file, in base64."""

    tokenizer: ClassVar[Tokenizer | None] = None
    cache_owner: ClassVar[CacheKind] = "none"

    engine: Literal["app"] = "app"
    archive: str = Field(default="", pattern=r"^[A-Za-z0-9+/=]*$")
    installs: bool = Field(default=False, description="whether it has a requirement file")

    @property
    def host_memory_bytes(self) -> int:
        return self.memory_bytes

    @property
    def downloads(self) -> bool:
        return self.installs

    @property
    def request_context(self) -> None:
        return None
