"""Tools that models may call."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Annotated, ClassVar, Literal, Self, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from serving.config.base import HeaderSecret, Restrictable, SecretRef, TenantSecrets
from serving.core import url

ToolName = Literal["calculator", "python", "retrieval", "time"]
"""A tool that is built in."""


Approval = Literal["tainted", "always", "never"]
"""When somebody must approve of a call: of one with effects after the model has read what others wrote, or always."""


TOOLS: tuple[ToolName, ...] = get_args(ToolName)


class _Tool(Restrictable):
    told_by_others: ClassVar[bool] = False
    """Whether others wrote what a model is told of it."""

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

    @property
    def secrets(self) -> dict[str, SecretRef]:
        """Those by which what it makes for one tenant differs from what it makes for others."""
        return {}

    def of_tenant(self, tenant: str) -> Self | None:
        """Returns the tool with the secrets that are used for a tenant, None where it has not all of them."""
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """What it connects to: on a cluster nothing else can be reached."""
        return ()


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
        found = {name: s if isinstance(s, SecretRef) else s.for_tenant(tenant) for name, s in self.headers.items()}
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

    @property
    def urls(self) -> tuple[str, ...]:
        return self.allow

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

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.database,) if self.database.startswith("postgresql") else ()

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

    told_by_others: ClassVar[bool] = True

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

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.url,)

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
