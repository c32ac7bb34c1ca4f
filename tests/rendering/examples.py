"""The example stacks on Kubernetes, as tests plan and render them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from infra.layout import CHECKOUT

EXAMPLES = (CHECKOUT / "Pulumi.kubeconfig.yaml", *sorted((CHECKOUT / "examples").glob("Pulumi.*.yaml")))
"""Stacks on a cluster that is there."""

MADE = tuple(CHECKOUT / f"Pulumi.{target}.yaml" for target in ("aws", "azure", "gcp", "onprem"))
"""Stacks whose cluster is made."""

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "https://cluster.invalid:6443"}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "c",
}
"""A cluster that is not there, and nothing that it could be entered with."""


def with_digests(text: str) -> str:
    """The text of an example, in which placeholders are digests that an image can have, and a secret of the stack."""
    text = text.replace("token: hf_...", "token: {ref: file:/etc/headrace/secrets/model-llama-3.1-8b-token}")
    return re.sub(r"sha256:(.)\1{63}", lambda found: f"sha256:{found[1]}{'0123456789abcdef' * 4}"[:71], text)


def stack_settings(example: Path) -> dict[str, Any]:
    """An example's settings without their namespace. Of the documents one is enough."""
    config = yaml.safe_load(with_digests(example.read_text()))["config"]
    documents = [{"name": "docs", "paths": ["README.md"]}]
    return {"knowledge": documents, **{key.removeprefix("headrace:"): value for key, value in config.items()}}


def settings(example: Path, kubeconfig: Path | None = None, **kubernetes: Any) -> dict[str, Any]:
    """An example's settings; with a kubeconfig neither the cluster nor its hosts are asked."""
    found = stack_settings(example)
    there = {"kubeconfig": str(kubeconfig)} if kubeconfig and example not in MADE else {}
    asked = {"preflight": False} if kubeconfig else {}
    return {**found, "kubernetes": {**found.get("kubernetes", {}), **there, **asked, **kubernetes}}
