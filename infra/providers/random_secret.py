"""A random secret, stored encrypted in the stack's state and nowhere on this host."""

from __future__ import annotations

from infra.providers.secret import generate_secret
from infra.resources.resource import Found, Resource, Task, Values, fingerprint


class RandomSecretProvider(Resource):
    """Inputs: `prefix`, `revision`. Outputs: `value` (secret), and `digest`, which changes with the value.

    The secret is generated once for each `revision`.
    """

    replace_on = frozenset({"prefix", "revision"})
    secret_outputs = frozenset({"value"})
    computed = frozenset({"value", "digest"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        value = generate_secret(new["prefix"])
        digest = fingerprint(value)
        return digest, {**new, "value": value, "digest": digest}

    def read(self, id: str, old: Values) -> Found:
        return Found(id, old)

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Does nothing: the secret exists only in the state."""
