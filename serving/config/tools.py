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
"""A built-in tool."""


Approval = Literal["tainted", "always", "never"]
"""When a call requires approval: if it has effects after the model has read untrusted text, or always."""


TOOLS: tuple[ToolName, ...] = get_args(ToolName)


class _Tool(Restrictable):
    told_by_others: ClassVar[bool] = False
    """Whether the tool's description is from others."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="its name for the model")
    description: str = Field(min_length=1, max_length=2000, description="its description for the model")
    approval: Approval = Field(
        default="tainted",
        description="when a call requires approval: `tainted` means one that changes something after the model has "
        "read text from others",
    )

    @field_validator("name")
    @classmethod
    def _own_name(cls, value: str) -> str:
        if value in TOOLS:
            raise ValueError("must not be the name of a built-in tool")
        return value

    @property
    def secrets(self) -> dict[str, SecretRef]:
        """The secrets that distinguish one tenant's tool from others'."""
        return {}

    def of_tenant(self, tenant: str) -> Self | None:
        """Returns the tool with the secrets for a tenant, None if one of them is missing."""
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs that it connects to: on a cluster nothing else can be reached."""
        return ()


def _prefix(value: str) -> str:
    try:
        found = url.parse(value)
    except url.BadUrl as e:
        raise ValueError(f"must be an unambiguous URL: {e}") from None
    if found.query is not None or "#" in value:
        raise ValueError("must end with its path")
    return str(found)


UrlPrefix = Annotated[str, AfterValidator(_prefix)]
"""Scheme, host, port and the beginning of a path, in whole segments."""


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
"""Request headers that control the transport or the destination."""


def _sent(
    headers: dict[str, HeaderSecret], own: Set[str] = frozenset(), prefix: str | None = None
) -> dict[str, HeaderSecret]:
    """Returns headers that may be configured; `own` and those that begin with `prefix` are set by the gateway."""
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
                    raise ValueError(f"headers.{name}.tenants has '{tenant}', which is not in access.tenants")
        return self

    @property
    def secrets(self) -> dict[str, SecretRef]:
        """The headers of a tool that `of_tenant` returned."""
        found = {name: secret for name, secret in self.headers.items() if isinstance(secret, SecretRef)}
        if len(found) < len(self.headers):
            raise AssertionError("which tenant's secrets are sent is not decided yet")
        return found

    def of_tenant(self, tenant: str) -> Self | None:
        """Returns the tool with the secrets for a tenant, None if one of them is missing."""
        if all(isinstance(secret, SecretRef) for secret in self.headers.values()):
            return self
        found = {name: s if isinstance(s, SecretRef) else s.for_tenant(tenant) for name, s in self.headers.items()}
        return self.model_copy(update={"headers": found}) if None not in found.values() else None

    @property
    def variants(self) -> list[Self]:
        """The tool with the secrets of each tenant that has its own, and with those of all others."""
        named = {tenant for s in self.headers.values() if isinstance(s, TenantSecrets) for tenant in s.tenants}
        # No tenant has an empty name.
        return [found for tenant in ("", *sorted(named)) if (found := self.of_tenant(tenant)) is not None]


class HttpTool(_Sender):
    """HTTP requests to allowed URLs; responses are passed to the model as text."""

    kind: Literal["http"] = "http"
    allow: tuple[UrlPrefix, ...] = Field(
        min_length=1, max_length=64, description="allowed beginnings of URLs, such as https://api.example.com/v1"
    )
    methods: tuple[HttpMethod, ...] = Field(
        default=("GET",),
        min_length=1,
        max_length=6,
        description="allowed methods; all but GET and HEAD count as changes",
    )
    headers: dict[str, HeaderSecret] = Field(
        default_factory=dict,
        max_length=16,
        description="secrets of each request, never shown to the model: one for everybody, or one for each tenant",
    )
    private: bool = Field(default=False, description="whether hosts on loopback or in private networks are allowed")
    timeout_s: float = Field(default=8, gt=0, le=600, description="timeout of one call, including redirects")
    max_bytes: int = Field(default=200_000, ge=1000, le=5_000_000, description="maximum number of bytes read of a body")
    max_redirects: int = Field(default=0, ge=0, le=5, description="maximum number of redirects, each to an allowed URL")

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
    """Read-only queries of a database."""

    kind: Literal["sql"] = "sql"
    database: str = Field(
        pattern=r"^(sqlite:////|postgresql://).+",
        max_length=1000,
        description="sqlite:////file or postgresql://user@host/database, without a password",
    )
    password: SecretRef | None = Field(default=None, description="password of the database's user")
    tables: tuple[Annotated[str, StringConstraints(pattern=r"^\w{1,63}(\.\w{1,63})?$")], ...] = Field(
        default=(), max_length=32, description="tables and views described to the model, with their columns"
    )
    max_rows: int = Field(default=50, ge=1, le=1000, description="maximum number of rows shown of a result")
    timeout_s: float = Field(default=5, gt=0, le=600, description="timeout of one query")

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
            raise ValueError("supports only the parameters sslmode and sslrootcert")
        if parts.scheme == "sqlite" and given:
            raise ValueError("sqlite has no parameters")
        if parts.scheme == "postgresql" and not (parts.username and parts.hostname and parts.path.strip("/")):
            raise ValueError("must name user, host and database: postgresql://user@host/database")
        if parts.scheme == "postgresql" and ("," in unquote(parts.netloc) or not _is_port(parts)):
            raise ValueError("must name one host, and a port from 1 to 65535 if any")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.password is not None and self.database.startswith("sqlite"):
            raise ValueError("password applies to PostgreSQL")
        return self


ServersTool = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""Name of a tool of an MCP server."""


class McpTool(_Sender):
    """The tools of an MCP server, by Streamable HTTP; models see them as `<name>_<tool>`."""

    told_by_others: ClassVar[bool] = True

    kind: Literal["mcp"] = "mcp"
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="prefix of its tools' names")
    description: str = Field(
        default="", max_length=2000, description="description for the model while the server cannot be used"
    )
    url: str = Field(description="its endpoint, such as https://tools.example.com/mcp")
    headers: dict[str, HeaderSecret] = Field(
        default_factory=dict,
        max_length=16,
        description="secrets sent with each request, such as Authorization: one for everybody, or one for each tenant",
    )
    tools: tuple[ServersTool, ...] | None = Field(
        default=None, min_length=1, max_length=64, description="tools that may be called; by default all, at most 64"
    )
    read_only: tuple[ServersTool, ...] = Field(
        default=(),
        max_length=64,
        description="tools that change nothing, whatever the server's annotations are",
    )
    private: bool = Field(default=False, description="whether a server on loopback or in private networks is allowed")
    timeout_s: float = Field(default=8, gt=0, le=600, description="timeout of one call, and of listing the tools")
    max_bytes: int = Field(
        default=1_000_000, ge=10_000, le=64_000_000, description="maximum number of bytes of one answer"
    )

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
            raise ValueError(f"read_only names tools that are not in tools: {', '.join(unknown)}")
        return self


CatalogTool = Annotated[HttpTool | SqlTool | McpTool, Field(discriminator="kind")]
"""A tool of the configuration, or the tools of a server."""
