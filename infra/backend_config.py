"""Where the state of a stack is kept, and which key encrypts the secrets in it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from serving.config import Strict


class Backend(Strict):
    """Where Pulumi keeps the stack's state: a bucket, which a stack in a cloud needs, or this checkout alone."""

    url: str = Field(
        default="",
        pattern=r"^((s3|gs|azblob)://\S+)?$",
        description="bucket for the state, such as s3://NAME?region=eu-central-1, gs://NAME or"
        " azblob://CONTAINER?storage_account=NAME; empty: $PULUMI_BACKEND_URL, else the folder .headrace/pulumi",
    )
    secrets_provider: str = Field(
        default="",
        pattern=r"^((awskms|gcpkms|azurekeyvault|hashivault)://\S+)?$",
        description="key that encrypts secrets in the state and in the stack's file, such as"
        " awskms://alias/NAME?region=eu-central-1; empty: a passphrase",
    )
    only_in_checkout: bool = Field(
        default=False,
        description="whether a stack in a cloud may have its state in one checkout alone; whoever loses that checkout"
        " can neither change nor delete the cluster",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.url and self.only_in_checkout:
            raise ValueError("names a bucket, so that only_in_checkout contradicts it: remove one of the two")
        return self
