"""The Pulumi program: configuration -> target with the application and its knowledge -> outputs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pulumi
from pulumi.runtime import config as runtime

from infra import documents
from infra.cluster_config import MOUNTED
from infra.config import NAMESPACE
from infra.config_loader import load
from infra.mistakes import block
from infra.targets import Target
from infra.targets.layout import CHECKOUT, Layout


def raw_settings() -> tuple[dict[str, object], frozenset[str]]:
    """The settings of this stack without their namespace, and which of them are encrypted."""
    prefix = f"{NAMESPACE}:"
    names = {**runtime.get_config_env(), **runtime.CONFIG.get()}
    raw = {k.removeprefix(prefix): v for k, v in names.items() if k.startswith(prefix)}
    return raw, frozenset(k for k in raw if runtime.is_config_secret(prefix + k))


def plan() -> Target:
    """Each target loads what it needs, and nothing of the others."""
    raw, encrypted = raw_settings()
    stack = pulumi.get_stack()
    local = raw.get("target", "local") == "local"
    secrets = str(Layout.of(stack, str(raw.get("state", ""))).secrets) if local else MOUNTED
    loaded = load(raw, encrypted, secrets)
    name = {"local": "local", "kubeconfig": "kubeconfig"}.get(loaded.config.target, "made")
    target = importlib.import_module(f"infra.targets.{name}")
    found = [*target.mistakes(loaded, stack), *documents.mistakes(CHECKOUT, loaded.config.knowledge)]
    found = [*loaded.mistakes, *(m for m in found if m.setting not in loaded.unread)]
    if found:
        raise pulumi.RunError(block(found))
    made: Target = target.plan(loaded.config, loaded.secrets, stack)
    return made


def main() -> None:
    # Pulumi puts this folder on the path, where modules of ours would hide packages of the same name (kserve).
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).resolve().parent]
    target = plan()
    pulumi.export("url", target.url)
    pulumi.export("api_key", target.api_key)
    pulumi.export("prometheus_url", target.prometheus_url)
    pulumi.export("dashboards", dict(target.dashboards))
    if target.kubeconfig is not None:
        pulumi.export("kubeconfig", target.kubeconfig)


if __name__ == "__main__":
    main()
