"""What to do about errors of an update that providers are known to report."""

from __future__ import annotations

from collections.abc import Sequence

from infra.targets.operations import remedies
from tools.stack.changes import title
from tools.stack.events import Change, Failure


def advice(failures: Sequence[Failure]) -> list[str]:
    """Returns a line for each resource whose error has a known cause: the resource, the cause and the fix."""
    found: dict[str, None] = {}
    for failure in failures:
        # The most specific text comes first: others repeat it with less, or wrap it.
        explained = next((text for each in remedies() if (text := each.explain(failure.text))), "")
        if explained:
            subject = f"{title(Change('update', failure.urn))}: " if failure.urn else ""
            found[f"{subject}{explained}"] = None
    return list(found)
