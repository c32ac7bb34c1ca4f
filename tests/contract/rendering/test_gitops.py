"""What Flux is given of a stack's add-ons is what Flux takes, by its own schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from infra.cluster_config import MOUNTED_SECRETS
from infra.config_loader import load
from tests.rendering.examples import EXAMPLES, stack_settings
from tests.rendering.schemas import ValidatorOf, mistakes, validator_of
from tools import gitops

__all__ = ["validator_of"]

NO_SCHEMA = "kustomize.config.k8s.io/v1beta1"
"""A file of Kustomize, which is no object of a cluster."""


def exported(example: Path, **changes: Any) -> list[dict[str, Any]]:
    settings = {**stack_settings(example), **changes}
    config = load(settings, frozenset(settings), MOUNTED_SECRETS).config
    files = gitops.export(config, "mine", "deploy", "flux-system")
    return [o for text in files.values() for o in yaml.safe_load_all(text) if o["apiVersion"] != NO_SCHEMA]


def test_flux_takes_every_add_on(validator_of: ValidatorOf) -> None:
    [example] = [e for e in EXAMPLES if e.stem.endswith("gateway")]
    every = dict.fromkeys(("certificates", "gateway", "gpu", "kserve", "kuberay", "monitoring", "postgres"), "install")
    objects = exported(example, kubernetes={"render": "deploy/stack"}, addons=every)
    assert {o["kind"] for o in objects} >= {"HelmRelease", "HelmRepository", "Kustomization", "Namespace"}
    known = [o for o in objects if "envoyproxy" not in o["apiVersion"]]
    assert list(mistakes(known, validator_of)) == []
