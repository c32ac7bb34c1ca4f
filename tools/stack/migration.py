"""Moves the state of a stack from this checkout to the bucket that its configuration names."""

from __future__ import annotations

import json

from infra.layout import CHECKOUT
from tools.report import ToolError, say
from tools.stack.backend import HOME, LOCAL, URL, Backend
from tools.stack.workspace import Workspace


def migrate(workspace: Workspace) -> None:
    """Copies the state, encrypted by the new key, checks the copy, and removes the state from this checkout.

    Pulumi keeps the old state as a backup file beside it, and the stack's file as it was goes to `.headrace/<stack>`.

    Raises:
        ToolError: the configuration names no bucket and key, there is nothing to move, or the copy failed. The state of
            this checkout is then as before.
    """
    backend, stack, settings = workspace.backend, workspace.stack, workspace.own_settings
    if not (backend.is_bucket and backend.secrets_provider):
        raise ToolError("name a bucket and a key first: headrace:backend needs url and secrets_provider")
    if not workspace.is_in_checkout:
        raise ToolError(f"this checkout has no state of stack '{stack}'")
    with workspace.locked():
        before = settings.read_text() if settings.exists() else None
        workspace.write_salt()
        say(f"moving the state of stack '{stack}' to {backend.url}")
        try:
            workspace.pulumi_output(
                "stack", "migrate", LOCAL.as_uri(), stack, "--secrets-provider", backend.secrets_provider, "--yes"
            )
        except ToolError:
            if before is not None:
                settings.write_text(before)
            raise
        here = Workspace(stack, {**workspace.environment, URL: LOCAL.as_uri()}, Backend())
        if _resources(here) != _resources(workspace):
            raise ToolError(f"the state in {backend.url} is not that of this checkout, which was kept; remove the copy")
        here.pulumi_output("stack", "rm", stack, "--yes", "--force", "--preserve-config")
        workspace.forget_salt()
        for backup in CHECKOUT.glob(f"{settings.name}.bak.*"):
            backup.replace(HOME / stack / backup.name)


def _resources(workspace: Workspace) -> list[tuple[str, str]]:
    """Returns URN and id of each resource in the state."""
    exported = json.loads(workspace.pulumi_output("stack", "export", "--stack", workspace.stack))
    return [(r["urn"], r.get("id", "")) for r in exported["deployment"].get("resources") or ()]
