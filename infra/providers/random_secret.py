"""A random secret that lives in the stack's state, encrypted, and nowhere on this host."""

from __future__ import annotations

from infra.providers.resource import Found, Resource, Task, Values, fingerprint
from infra.providers.secret import generated


class RandomSecret(Resource):
    """Inputs: `prefix`, `revision`. Outputs: `value` (secret), and `digest`, which tells it from another value.

    It is made once, and again for another `revision`.
    """

    replace_on = frozenset({"prefix", "revision"})
    secret_outputs = frozenset({"value"})
    computed = frozenset({"value", "digest"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        value = generated(new["prefix"])
        digest = fingerprint(value)
        return digest, {**new, "value": value, "digest": digest}

    def read(self, id: str, old: Values) -> Found:
        return Found(id, old)

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Nothing is left: the state was all there is."""
