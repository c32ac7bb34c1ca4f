"""A secret in a file that only its owner can read: generated, or from the configuration."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from pathlib import Path

from infra.resources.resource import Found, Resource, Task, Values, fingerprint

MODE = 0o600


def generate_secret(prefix: str) -> str:
    """Returns `prefix` and 256 random bits in 43 URL-safe characters."""
    return prefix + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def write_private(path: Path, value: str) -> None:
    """Writes `value` atomically to a file that no other user can read at any time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w") as out:
        out.write(value)
    new.replace(path)


class SecretProvider(Resource):
    """Inputs: `path`, `prefix` of a generated value or the `value` itself, `reveal` (bool), `keep` (bool).

    An existing file is adopted, unless `value` is set. The secret output `value` exists only with `reveal` or an
    input `value`. With `keep`, the file stays when the resource is deleted, since the stored data needs the secret.
    """

    replace_on = frozenset({"path"})
    secret_outputs = frozenset({"value"})
    computed = frozenset({"digest"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        path = Path(new["path"])
        if "value" in new:
            write_private(path, new["value"])
        elif not path.exists() or not path.read_text().strip():
            write_private(path, generate_secret(new["prefix"]))
        path.parent.chmod(0o700)
        path.chmod(MODE)
        return str(path), self._outputs(new)

    def read(self, id: str, old: Values) -> Found:
        path = Path(id)
        if not path.exists():
            return Found()
        changed = "value" in old and "prefix" not in old and path.read_text() != old["value"]
        drifted = stat.S_IMODE(path.stat().st_mode) != MODE or changed
        return Found(id, {**old, **self._outputs(old), "drifted": drifted})

    def delete(self, id: str, old: Values, task: Task) -> None:
        if not old.get("keep"):
            Path(id).unlink(missing_ok=True)

    def _outputs(self, new: Values) -> Values:
        value = Path(new["path"]).read_text()
        outputs = {k: v for k, v in new.items() if k not in ("value", "digest", "drifted")}
        if "prefix" in new:  # the digest of a chosen secret could help to guess it
            outputs["digest"] = fingerprint(value)
        if "value" in new or new.get("reveal"):
            outputs["value"] = value
        return outputs
