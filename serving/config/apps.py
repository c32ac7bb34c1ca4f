"""Apps: chains, agents and functions of the operator's own, which answer like models."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from serving.config.base import Name, Restrictable
from serving.config.engines import CacheKind, Hosted, RayServeModel, Tokenizer

AppObject = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", max_length=256)]
"""`module:attribute`, as Python imports it."""

NodeName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class AppSettings(Hosted, Restrictable):
    """What is said of an app, and what its replicas and the gateway must know."""

    name: Name
    object: AppObject = Field(description="`module:attribute`: a LangGraph graph, a LangChain runnable, or a function")
    runs: int = Field(default=8, ge=1, le=256, description="runs at once in one replica")
    timeout_s: float = Field(default=300, gt=0, le=3600, description="longest run; then it is ended")
    start_timeout_s: float = Field(
        default=600, ge=1, le=3600, description="until its requirements are installed and its object is imported"
    )
    answer_nodes: tuple[NodeName, ...] = Field(
        default=(), max_length=32, description="nodes of a graph whose tokens are the answer; empty: all nodes"
    )
    tools: tuple[Name, ...] = Field(
        default=(), max_length=64, description="tools of headrace:tools that it may call for its callers"
    )
    replicas: int = Field(default=1, ge=1, le=64)
    cpus: float = Field(default=0.2, gt=0, le=256, description="CPUs that Ray reserves for a replica")
    memory_bytes: int = Field(default=300_000_000, ge=0, description="expected resident size, for the fit check")


class App(AppSettings):
    """A chain, an agent or a function of your own, in a deployment of its own; it is called like a model."""

    folder: str | None = Field(
        default=None, min_length=1, description="its source, below the checkout; without one its package has it"
    )
    requirements: str | None = Field(
        default=None,
        min_length=1,
        description="its locked requirement file, with hashes, in `folder` or below the checkout; "
        "without one it has the packages of the serving environment",
    )


class AppModel(AppSettings, RayServeModel):
    """An app as Serve and the gateway know it; `archive` is its source with its requirement file, in base64."""

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
    def concurrency(self) -> int:
        return self.runs

    @property
    def request_context(self) -> None:
        return None
