"""The stack's secrets on Kubernetes: generated in the state, stored in one Secret, mounted as files."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi import Output, ResourceOptions
from pydantic import SecretStr

from infra.cluster_config import MOUNTED_SECRETS
from infra.config import StackConfig
from infra.config_loader import DATABASE_PASSWORD, KUBECONFIG
from infra.resources.declared import RandomSecret
from serving.config import SecretRef

API_KEY = "api-key"
KEY_SECRET = "key-secret"  # noqa: S105 (a name)
RAY_TOKEN = "ray-token"  # noqa: S105 (a name)


def secret_reference(name: str) -> SecretRef:
    """Returns the reference to a secret's file in pods."""
    return SecretRef(ref=f"file:{MOUNTED_SECRETS}/{name}")


def key_secret_name(number: int) -> str:
    """Returns the name of the key secret with a number."""
    return KEY_SECRET if number == 1 else f"{KEY_SECRET}-{number}"


class KubernetesSecrets:
    """The stack's secrets by name, encrypted in the state."""

    def __init__(self, config: StackConfig, config_secrets: Mapping[str, SecretStr], opts: ResourceOptions) -> None:
        """Generates the secrets; with an external store, only the password of the stack's own database."""
        self.values: dict[str, Output[str]] = {}
        self.api_key: Output[str] = Output.secret("")  # with an external store, the program does not know it
        if config.database.kind == "cloudnativepg":
            self.values[DATABASE_PASSWORD] = RandomSecret(DATABASE_PASSWORD, opts=opts).value
        if config.kubernetes.external_secret is None:
            self._create(config, config_secrets, opts)

    def _create(self, config: StackConfig, config_secrets: Mapping[str, SecretStr], opts: ResourceOptions) -> None:
        revision = config.kubernetes.key_revision
        self.api_key = RandomSecret(API_KEY, prefix="hr_", revision=revision, opts=opts).value
        # The users' API keys are hashed with these secrets and are invalid without them.
        key_secrets = {
            number: RandomSecret(key_secret_name(number), opts=opts) for number in config.key_secret.generated
        }
        self.values |= {
            API_KEY: self.api_key,
            RAY_TOKEN: RandomSecret(RAY_TOKEN, opts=opts).value,
            **{key_secret_name(number): key_secrets[number].value for number in config.key_secret.in_use},
            # Replicas wait until their node has updated the mounted files to this revision: SecretRef.read.
            "revision": Output.from_input(str(revision)),
        }
        for name, value in sorted(config_secrets.items()):
            if name != KUBECONFIG:
                self.values[name] = pulumi.Output.secret(value.get_secret_value())
