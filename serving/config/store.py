"""Storage of state, and its retention."""

from __future__ import annotations

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from serving.config.base import SecretRef, Strict


class Store(Strict):
    """Storage of state: a relational database, and a folder or bucket for files and collections.

    An object store's credentials come from the pod's workload identity or from the environment, never from here:
    `AWS_SHARED_CREDENTIALS_FILE`, or `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; `GOOGLE_APPLICATION_CREDENTIALS`;
    `AZURE_STORAGE_ACCOUNT_KEY`.
    """

    database: str = Field(
        pattern=r"^(sqlite|postgresql)(\+[a-z0-9]+)?://", description="SQLAlchemy URL without a password"
    )
    password: SecretRef | None = Field(default=None, description="password of the database's user")
    tls: Literal["prefer", "require", "verify-ca", "verify-full"] | None = Field(
        default=None, description="libpq's sslmode for PostgreSQL; by default the URL's, or prefer"
    )
    tls_ca: str | None = Field(default=None, pattern=r"^/.+", description="file with the CA's certificate (PEM)")
    connections: int = Field(
        default=4, ge=1, le=100, description="maximum number of connections to PostgreSQL per replica"
    )
    statement_timeout_s: float = Field(default=30, gt=0, le=3600, description="timeout of one statement in PostgreSQL")
    migrate: bool = Field(
        default=True, description="whether replicas migrate the schema; false if `serving.store migrate` does"
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
            raise ValueError("must be a folder, or only a bucket and a prefix")
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
    """Days after which data of each class is deleted for good; null keeps it."""

    conversations: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        description="days after a conversation's newest item or a chain's newest response; with captures and feedback",
    )
    captures: float | None = Field(default=90, gt=0, le=36_500, description="days after the answer; with its feedback")
    files: float | None = Field(
        default=None, gt=0, le=36_500, description="days after the upload; removes the file from every vector store"
    )
    audit: float | None = Field(default=400, gt=0, le=36_500, description="days after the event in the audit log")
