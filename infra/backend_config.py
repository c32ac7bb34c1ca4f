"""Where the state of a stack is kept, and which key encrypts the secrets in it."""

from __future__ import annotations

from pydantic import Field

from serving.config import Strict


class Backend(Strict):
    """Where Pulumi keeps the stack's state. Without it the state is in this checkout alone."""

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
