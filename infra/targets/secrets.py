"""The stack's secrets on Kubernetes: made in the state, kept in one Secret, mounted as files."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi import Output, ResourceOptions
from pydantic import SecretStr

from infra.cluster_config import MOUNTED
from infra.config import DATABASE_PASSWORD, KUBECONFIG
from infra.resources import RandomSecret
from serving.config import SecretRef

API_KEY = "api-key"
KEY_SECRET = "key-secret"  # noqa: S105 (a name)
RAY_TOKEN = "ray-token"  # noqa: S105 (a name)


def reference(name: str) -> SecretRef:
    """Where a pod reads secret `name`."""
    return SecretRef(ref=f"file:{MOUNTED}/{name}")


class Secrets:
    """Secrets by name; each value is encrypted in the state."""

    def __init__(self, given: Mapping[str, SecretStr], *, revision: int, database: bool, opts: ResourceOptions) -> None:
        """`database`: a password is made for a database that the stack runs itself."""
        self.api_key = RandomSecret(API_KEY, prefix="hr_", revision=revision, opts=opts)
        made = {
            API_KEY: self.api_key,
            # Keys of users are stored under this hash key: another one would make all of them useless.
            KEY_SECRET: RandomSecret(KEY_SECRET, opts=opts),
            RAY_TOKEN: RandomSecret(RAY_TOKEN, opts=opts),
            **({DATABASE_PASSWORD: RandomSecret(DATABASE_PASSWORD, opts=opts)} if database else {}),
        }
        self.values: dict[str, Output[str]] = {name: secret.value for name, secret in made.items()}
        # Replicas that start after a change wait until their node has brought it to them: SecretRef.read.
        self.values["revision"] = Output.from_input(str(revision))
        for name, value in sorted(given.items()):
            if name != KUBECONFIG:
                self.values[name] = pulumi.Output.secret(value.get_secret_value())
