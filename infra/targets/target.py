"""What a target plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pulumi import Input, Output


@dataclass(frozen=True)
class Target:
    """The application's addresses and credentials, which the program exports."""

    url: Input[str]
    """URL of the API, without a trailing slash."""
    api_key: Output[str]
    prometheus_url: str
    """Empty if the stack does not install Prometheus."""
    dashboards: Mapping[str, str]
    kubeconfig: Output[str] | None = None
    """Kubeconfig of a cluster that the stack created."""
