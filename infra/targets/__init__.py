"""Where a stack runs: one module per target, each of which returns the same `Target`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi import Output


@dataclass(frozen=True)
class Target:
    """A running application, as the rest of the program sees it."""

    url: str
    """Of the API, without a trailing slash."""
    api_key: Output[str]
    key_path: Output[str]
    """File of the API key on this host."""
    prometheus_url: str
    dashboards: Mapping[str, str]
    ready: pulumi.Resource
    """Exists when the API answers."""
    parent: pulumi.Resource
