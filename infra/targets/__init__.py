"""Where a stack runs: one module or folder per target; the stack's parts come back as one `Target`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pulumi import Input, Output


@dataclass(frozen=True)
class Target:
    """A running application, as the rest of the program sees it."""

    url: Input[str]
    """Of the API, without a trailing slash."""
    api_key: Output[str]
    prometheus_url: str
    """Empty when the stack has no Prometheus of its own."""
    dashboards: Mapping[str, str]
    kubeconfig: Output[str] | None = None
    """Of a cluster that the stack made."""
