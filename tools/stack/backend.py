"""Where Pulumi keeps the state of a stack and what encrypts its secrets: this checkout, or a bucket and a key."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.config_loader import load
from infra.layout import CHECKOUT
from infra.mistakes import report
from infra.nodes.machines import CLOUDS
from tools.report import ToolError

HOME = CHECKOUT / ".headrace"
LOCAL = HOME / "pulumi"
"""Folder of the states that are in this checkout alone."""

BUCKETS = ("s3", "gs", "azblob")
URL = "PULUMI_BACKEND_URL"
PASSPHRASES = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")

LOCKED = re.compile(r"the stack is currently locked by .*?: created by (\S+) \(pid (\d+)\) at (\S+)", re.DOTALL)
"""https://github.com/pulumi/pulumi/blob/v3.274.1/pkg/backend/diy/lock.go"""


@dataclass(frozen=True)
class Backend:
    """The backend of one stack."""

    url: str = field(default_factory=lambda: LOCAL.as_uri())
    secrets_provider: str = ""
    """URL of a key; empty: a passphrase."""
    only_in_checkout: bool = False
    """Whether a stack in a cloud may have its state in one checkout alone."""

    @property
    def shared(self) -> bool:
        """Whether others may write the state too, so that only Pulumi's own lock keeps them apart."""
        return not self.url.startswith("file:")

    @property
    def is_bucket(self) -> bool:
        return self.url.partition(":")[0] in BUCKETS

    @property
    def is_default(self) -> bool:
        return self.url == LOCAL.as_uri()

    def variables(self) -> dict[str, str]:
        """Returns environment variables for Pulumi; those that the user has set are kept."""
        found = {URL: self.url}
        if self.is_default:
            LOCAL.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.shared:
            # Who has the bucket and the key, but not the stack's file, uses the key that the state names.
            found["PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER"] = "true"
        if not os.environ.keys() & set(PASSPHRASES):
            found[PASSPHRASES[1]] = str(_passphrase())
        return found


def backend_of(settings: object, target: str, environment: Mapping[str, str]) -> Backend:
    """Returns the backend that the setting `headrace:backend` or the environment names.

    Raises:
        ToolError: the setting has mistakes, or the two name different backends.
    """
    loaded = load({"target": target, **({} if settings is None else {"backend": settings})}, frozenset(), "")
    if mistakes := [m for m in loaded.mistakes if m.setting == "backend"]:
        raise ToolError(report(mistakes))
    wanted = loaded.config.backend
    given = environment.get(URL, "")
    if given and wanted.url and given != wanted.url:
        raise ToolError(
            f"{URL} names a backend other than headrace:backend.url, {wanted.url}; unset the variable, since a state in"
            " another backend would describe a second cluster"
        )
    return Backend(given or wanted.url or LOCAL.as_uri(), wanted.secrets_provider, wanted.only_in_checkout)


def check_keeping(backend: Backend, target: str, stack: str) -> None:
    """Refuses to create or change a cluster in a cloud whose state would be lost with a folder of this host.

    Raises:
        ToolError: nobody has accepted that.
    """
    if target not in CLOUDS or backend.shared or backend.only_in_checkout:
        return
    raise ToolError(
        f"headrace:backend.url: is missing, so that the state of stack '{stack}' would be in this checkout alone,"
        " without which nobody can change or delete the cluster any more. Make a bucket and a key and name both in"
        " headrace:backend (docs/how-to/keep-the-state.md); a stack that is up is then moved by"
        f" `.venv/bin/python -m tools.stack --stack {stack} migrate`. To accept the risk, set"
        " headrace:backend.only_in_checkout to true"
    )


def lock_advice(said: str, stack: str) -> str:
    """Returns what to do about another's lock, from what Pulumi said; empty if it was not locked."""
    if not (found := LOCKED.search(said)):
        return ""
    holder, pid, since = found.groups()
    return (
        f"error: {holder} (process {pid}) has been changing stack '{stack}' since {since}: wait for it to end, and run"
        f" the same command again. If that process is dead,"
        f" `.venv/bin/python -m tools.stack --stack {stack} pulumi cancel` removes its lock,"
        f" and `make drift STACK={stack}` shows what it left"
    )


def _passphrase() -> Path:
    """Returns the file with this checkout's passphrase, generated at the first use."""
    path = HOME / "passphrase"
    if not path.exists():
        HOME.mkdir(mode=0o700, exist_ok=True)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(32))
        new.replace(path)
    return path
