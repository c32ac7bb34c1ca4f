"""Settings of the stack's secrets: which key secret is in use, and a store that they come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from serving.config import Strict


class KeySecret(Strict):
    """Under which secret API keys are hashed, sessions and approvals signed. The stack makes each, once."""

    revision: int = Field(default=1, ge=1, le=1000, description="number of the secret in use; each number is another")
    previous: int = Field(default=0, ge=0, le=1000, description="number of a second one that is known too; 0: none")
    oldest: int = Field(default=1, ge=1, le=1000, description="the state forgets those of lower numbers, for ever")

    @model_validator(mode="after")
    def _two(self) -> KeySecret:
        if self.revision == self.previous:
            raise ValueError("has the same number as revision and previous; name another, or leave previous out")
        if self.oldest > min(self.used):
            raise ValueError(f"oldest is {self.oldest}, but number {min(self.used)} is in use; lower oldest")
        return self

    @property
    def made(self) -> range:
        """From the oldest on: one that is used no more is kept until then, so that a step can be taken back."""
        return range(self.oldest, max(self.used) + 1)

    @property
    def used(self) -> tuple[int, ...]:
        """Those that gateways read."""
        return (self.revision, self.previous) if self.previous else (self.revision,)


class ExternalSecret(Strict):
    """An entry of a store that holds all the stack's secrets. The cluster has the External Secrets Operator."""

    store: str = Field(min_length=1, max_length=253, description="name of the store")
    store_kind: Literal["SecretStore", "ClusterSecretStore"] = "ClusterSecretStore"
    key: str = Field(
        min_length=1,
        max_length=1024,
        description="name of the entry; its fields are api-key, key-secret, ray-token, and those that references name "
        "below /etc/headrace/secrets",
    )
    refresh_interval: str = Field(
        default="1h", pattern=r"^([0-9]+(\.[0-9]+)?(s|m|h))+$", description="how often the store is asked"
    )
