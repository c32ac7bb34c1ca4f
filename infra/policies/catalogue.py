"""All rules, and functions that evaluate them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from infra.policies import (
    access,
    charts,
    exposure,
    gpu,
    images,
    isolation,
    kuberay,
    network,
    spending,
    state,
    workloads,
)
from infra.policies.manifest import PlannedResource, from_manifest
from infra.policies.rule import RULES, RuleSettings, Violation, violations

MODULES = (images, isolation, workloads, network, exposure, access, state, gpu, kuberay, charts, spending)


def evaluate(
    resources: Iterable[PlannedResource], config: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Violation]:
    """Returns all violations of all rules, in the order of the rules; excepted ones include the reason."""
    every = list(resources)
    return [
        v for r in RULES.values() for v in violations(r, every, RuleSettings.from_config((config or {}).get(r.name)))
    ]


def evaluate_manifests(
    documents: Iterable[Mapping[str, Any]], config: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Violation]:
    """Evaluates all rules for objects from YAML; empty documents are skipped."""
    return evaluate((from_manifest(d) for d in documents if d), config)


__all__ = ["MODULES", "RULES", "evaluate", "evaluate_manifests"]
