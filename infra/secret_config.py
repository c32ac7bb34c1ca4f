"""Settings for the stack's secrets: the key secrets in use, and an external secret store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from serving.config import Strict


class KeySecret(Strict):
    """The secret that hashes API keys and signs sessions and approvals. The stack generates each number once."""

    revision: int = Field(default=1, ge=1, le=1000, description="number of the current secret; each number is a secret")
    previous: int = Field(
        default=0, ge=0, le=1000, description="number of a second secret that is still accepted; 0: none"
    )
    oldest: int = Field(
        default=1, ge=1, le=1000, description="secrets with lower numbers are deleted from the state for good"
    )

    @model_validator(mode="after")
    def _check_numbers(self) -> KeySecret:
        if self.revision == self.previous:
            raise ValueError("has the same number as revision and previous; name another, or leave previous out")
        if self.oldest > min(self.in_use):
            raise ValueError(f"oldest is {self.oldest}, but number {min(self.in_use)} is in use; lower oldest")
        return self

    @property
    def generated(self) -> range:
        """Numbers of the secrets in the state. Unused ones stay until `oldest` passes them, to allow a rollback."""
        return range(self.oldest, max(self.in_use) + 1)

    @property
    def in_use(self) -> tuple[int, ...]:
        """Numbers of the secrets that gateways read."""
        return (self.revision, self.previous) if self.previous else (self.revision,)


class ExternalSecret(Strict):
    """An entry in a secret store with all of the stack's secrets. The cluster needs the External Secrets Operator."""

    store: str = Field(min_length=1, max_length=253, description="name of the SecretStore or ClusterSecretStore")
    store_kind: Literal["SecretStore", "ClusterSecretStore"] = "ClusterSecretStore"
    key: str = Field(
        min_length=1,
        max_length=1024,
        description="name of the entry; its fields are api-key, key-secret, ray-token, and the names that references "
        "use below /etc/headrace/secrets",
    )
    refresh_interval: str = Field(
        default="1h", pattern=r"^([0-9]+(\.[0-9]+)?(s|m|h))+$", description="how often the store is read"
    )
