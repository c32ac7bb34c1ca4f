"""Identity providers, browsers and the pages that may call."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from serving.config.base import Name, SecretRef, Strict
from serving.core import url
from serving.core.principal import Role

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
