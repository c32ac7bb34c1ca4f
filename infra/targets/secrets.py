"""The stack's secrets on Kubernetes: made in the state, kept in one Secret, mounted as files."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi import Output, ResourceOptions
from pydantic import SecretStr

from infra.cluster_config import MOUNTED_SECRETS
from infra.config import StackConfig
from infra.config_loader import DATABASE_PASSWORD, KUBECONFIG
from infra.resources import RandomSecret
from serving.config import SecretRef

API_KEY = "api-key"
KEY_SECRET = "key-secret"  # noqa: S105 (a name)
RAY_TOKEN = "ray-token"  # noqa: S105 (a name)


def secret_reference(name: str) -> SecretRef:
    """Where a pod reads secret `name`."""
    return SecretRef(ref=f"file:{MOUNTED_SECRETS}/{name}")


def key_secret_name(number: int) -> str:
    """Name of the key secret of a number."""
    return KEY_SECRET if number == 1 else f"{KEY_SECRET}-{number}"


class KubernetesSecrets:
    """Secrets by name; each value is encrypted in the state."""

    def __init__(self, config: StackConfig, given: Mapping[str, SecretStr], opts: ResourceOptions) -> None:
        """Makes those that no store has: with one, that of a database which the stack runs itself."""
        self.values: dict[str, Output[str]] = {}
        self.api_key: Output[str] = Output.secret("")  # the store's
        if config.database.kind == "cloudnativepg":
            self.values[DATABASE_PASSWORD] = RandomSecret(DATABASE_PASSWORD, opts=opts).value
        if config.kubernetes.external_secret is None:
            self._create(config, given, opts)

    def _create(self, config: StackConfig, given: Mapping[str, SecretStr], opts: ResourceOptions) -> None:
        revision = config.kubernetes.key_revision
        self.api_key = RandomSecret(API_KEY, prefix="hr_", revision=revision, opts=opts).value
        # Keys of users are stored under these hash keys: without theirs all of them would be useless.
        key_secrets = {
            number: RandomSecret(key_secret_name(number), opts=opts) for number in config.key_secret.generated
        }
        self.values |= {
            API_KEY: self.api_key,
            RAY_TOKEN: RandomSecret(RAY_TOKEN, opts=opts).value,
            **{key_secret_name(number): key_secrets[number].value for number in config.key_secret.in_use},
            # Replicas that start after a change wait until their node has brought it to them: SecretRef.read.
            "revision": Output.from_input(str(revision)),
        }
        for name, value in sorted(given.items()):
            if name != KUBECONFIG:
                self.values[name] = pulumi.Output.secret(value.get_secret_value())
