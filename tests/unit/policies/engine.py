"""Resources as the policy pack sees them, without an engine that sends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.policies.manifest import PlannedResource, from_engine_value


def from_engine(
    token: str, name: str, props: Mapping[str, Any], *, urn: str = "", provider: str | None = None
) -> PlannedResource:
    """Returns a resource from properties in the notation of Pulumi's engine."""
    known = from_engine_value(props)
    return PlannedResource(token, name, known if isinstance(known, Mapping) else {}, urn, provider, marks_secrets=True)
