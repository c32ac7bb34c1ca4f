"""Identity providers, browser sessions and cross-origin requests."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from serving.config.base import Name, SecretRef, Strict
from serving.core import url
from serving.core.principal import Role

Claim = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
"""Name of a claim of a token."""


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Algorithms of asymmetric signatures. HMACs and `none` are excluded."""


SignInLinks = Literal["loopback", "anywhere", "off"]
"""From which addresses sign-in links are made and used."""


class Issuer(Strict):
    """An OpenID Connect provider, and the mapping of its tokens' claims."""

    name: Name
    label: str = Field(default="", max_length=64, description="its name for people who sign in; empty: `name`")
    issuer: str = Field(max_length=2048, description="its URL, exactly as in its tokens")
    client_id: str = Field(pattern=r"^[ -~]{1,256}$", description="the stack's client id at the provider")
    client_secret: SecretRef | None = Field(default=None, description="client secret; none for a public client")
    audience: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^[!-~]+$",
        description="audience of tokens that the API accepts in place of keys; by default none",
    )
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1, max_length=10)
    clock_skew_s: float = Field(default=30, ge=0, le=300, description="tolerated difference of the provider's clock")
    scopes: tuple[Claim, ...] = Field(
        default=("openid", "profile", "email"), max_length=32, description="scopes that a browser's sign-in requests"
    )
    user_claim: Claim = Field(default="sub", description="claim with the user's name; an `email` must be verified")
    groups_claim: Claim = "groups"
    roles: dict[Annotated[str, StringConstraints(min_length=1, max_length=256)], Role] = Field(
        default_factory=dict, max_length=256, description="role of each group's members; of several the highest"
    )
    role: Role | None = Field(
        default="user", description="role of users whose groups have none; null: they cannot sign in"
    )
    tenant: Name | None = Field(default=None, description="tenant of all its users")
    tenant_claim: Claim | None = Field(
        default=None, description="alternatively, the claim that determines the tenant, by `tenants`"
    )
    tenants: dict[Annotated[str, StringConstraints(min_length=1, max_length=256)], Name] = Field(
        default_factory=dict,
        max_length=1024,
        description="tenant of each value of the claim; users with others cannot sign in",
    )
    tls_ca: str | None = Field(default=None, pattern=r"^/.+", description="file with its CA's certificate (PEM)")

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
            raise ValueError("tenant_claim and tenants must be set together")
        if self.audience == self.client_id:  # that is the audience of ID tokens, which only tell who signed in
            raise ValueError("audience must differ from client_id")
        return self


class Oidc(Strict):
    """Single sign-on by OpenID Connect: browsers get sessions, and programs may send tokens in place of keys."""

    url: str = Field(
        default="",
        pattern=r"^(https?://[a-z0-9.:\[\]-]+)?$",
        description="the API's URL for browsers and in citations, without a path; empty: `ingress.host`, or this "
        "host's loopback, in whose place citations have the name by which a request came",
    )
    issuers: tuple[Issuer, ...] = Field(default=(), max_length=16)
    session_hours: float = Field(default=12, gt=0, le=720, description="maximum duration of a session")
    idle_minutes: float = Field(
        default=120, ge=5, le=43_200, description="maximum time between two requests of a session"
    )

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
            # Two providers may use the same name for different people.
            ("tenant", [t for i in self.issuers for t in {i.tenant, *i.tenants.values()} - {None}]),
        ):
            if twice := next((value for n, value in enumerate(given) if value in given[:n]), None):
                raise ValueError(f"two issuers have the {what} '{twice}'")
        return self


def require_secure(address: str) -> None:
    """Raises `ValueError` unless `address` is an https URL, or an http URL of this host."""
    parsed = url.parse(address)
    if parsed.scheme != "https" and not url.is_loopback(parsed.host):
        raise ValueError("must be https, except for this host")


class Cors(Strict):
    """Origins whose pages may call the API, with keys or tokens that their own servers or users provide."""

    origins: tuple[Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.:\[\]-]{1,255}$")], ...] = Field(
        default=(), max_length=64, description="exact origins such as `https://host`; `*` is not allowed"
    )
    credentials: bool = Field(default=False, description="whether they may also use a browser's session")
