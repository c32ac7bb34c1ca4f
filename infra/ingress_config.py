"""Settings of how the API of a stack on Kubernetes is reached from outside the cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from serving.config import Strict

DnsName = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
"""A DNS name."""


class Acme(Strict):
    """An issuer that the stack creates, which gets the certificate from an ACME server over HTTP at port 80."""

    email: str = Field(
        pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
        description="whom the ACME server notifies of problems with the certificate",
    )
    server: str = Field(
        default="https://acme-v02.api.letsencrypt.org/directory",
        pattern=r"^https://\S+$",
        description="directory of the ACME server, by default Let's Encrypt's",
    )


class Tls(Strict):
    """The TLS certificate of the API's host name."""

    secret: str = Field(default="", description="an existing Secret of type kubernetes.io/tls")
    issuer: str = Field(default="", description="cert-manager ClusterIssuer that issues the certificate")
    acme: Acme | None = Field(default=None, description="an issuer of the stack's own")

    @model_validator(mode="after")
    def _check_source(self) -> Tls:
        if sum((bool(self.secret), bool(self.issuer), self.acme is not None)) != 1:
            raise ValueError("needs either secret, issuer or acme")
        return self

    @property
    def issued(self) -> bool:
        """Whether cert-manager issues the certificate."""
        return not self.secret


OWN_ANNOTATIONS = ("cert-manager.io/", "external-dns.alpha.kubernetes.io/")
"""Beginnings of annotations that controllers read at a Gateway itself, not at what is made for it."""

MAX_INFRASTRUCTURE_ANNOTATIONS = 8
"""As the Gateway API allows in `spec.infrastructure`."""


ENTRANCE_ANNOTATIONS = 2
"""Of the reserved addresses of a load balancer, in each cloud."""


class Ingress(Strict):
    """How the API is reached from outside the cluster."""

    kind: Literal["none", "ingress", "gateway"] = "none"
    host: DnsName | None = None
    class_name: str = Field(default="", description="IngressClass or GatewayClass; empty: the default class")
    gateway: str = Field(default="", description="an existing Gateway, as namespace/name; empty: a new one is created")
    listener: DnsName = Field(default="https", description="listener of that Gateway that terminates TLS")
    annotations: dict[str, str] = Field(
        default_factory=dict,
        description="annotations of the Ingress, from which controllers read limits of size and time; of a new Gateway,"
        " annotations of its load balancer's Service, except those of cert-manager and ExternalDNS",
    )
    tls: Tls | None = None
    zone: str = Field(
        default="",
        description="DNS zone in which the stack keeps the host's record, with reserved addresses for the new Gateway:"
        " the id of a hosted zone (AWS), the name of a managed zone of the project (GCP), or the resource id of a zone"
        " (Azure)",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Ingress:
        if self.annotations and self.gateway:
            raise ValueError("has annotations, but the gateway exists; set them there")
        if self.gateway and self.tls and self.tls.acme:
            raise ValueError("has tls.acme, but the gateway exists; its owner says where its certificate comes from")
        room = MAX_INFRASTRUCTURE_ANNOTATIONS - (ENTRANCE_ANNOTATIONS if self.zone else 0)
        if self.kind == "gateway" and len(self.infrastructure_annotations) > room:
            raise ValueError(f"has more than {room} annotations, which a Gateway cannot pass on")
        if self.zone and (self.kind != "gateway" or self.gateway):
            raise ValueError("has a zone, whose record is that of a new gateway; use kind gateway without gateway")
        if self.kind == "none" and (self.host or self.tls or self.class_name or self.gateway or self.annotations):
            raise ValueError("has settings but kind none; use kind ingress or gateway")
        if self.kind != "none" and not self.host:
            raise ValueError("needs host")
        if self.kind == "ingress" and self.gateway:
            raise ValueError("names a gateway; use kind gateway")
        if "listener" in self.model_fields_set and not self.gateway:
            raise ValueError("has listener, which requires a gateway")
        if self.kind != "none" and not self.tls and not self.gateway:
            raise ValueError("needs tls: API keys must not travel in plain text")
        return self

    @property
    def infrastructure_annotations(self) -> dict[str, str]:
        """Annotations that a Gateway passes on to its load balancer's Service."""
        return {key: value for key, value in self.annotations.items() if not key.startswith(OWN_ANNOTATIONS)}


def zone_name(zone: str) -> str:
    """Returns the domain of a zone in Azure, from its resource id."""
    return zone.rpartition("/")[2]
