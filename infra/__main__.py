"""The Pulumi program: reads the configuration, plans the target with the application, and exports outputs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pulumi
from pulumi.runtime import config as runtime

from infra import application, apps, documents
from infra.cluster_config import MOUNTED_SECRETS
from infra.config import NAMESPACE
from infra.config_loader import load
from infra.layout import CHECKOUT, Layout
from infra.mistakes import report
from infra.targets.target import Target


def raw_settings() -> tuple[dict[str, object], frozenset[str]]:
    """Returns the stack's settings without their namespace, and the names of the encrypted ones."""
    prefix = f"{NAMESPACE}:"
    names = {**runtime.get_config_env(), **runtime.CONFIG.get()}
    raw = {k.removeprefix(prefix): v for k, v in names.items() if k.startswith(prefix)}
    return raw, frozenset(k for k in raw if runtime.is_config_secret(prefix + k))


def plan() -> Target:
    """Plans the stack on its target. Only that target's module is imported, so other SDKs are not needed."""
    raw, encrypted = raw_settings()
    stack = pulumi.get_stack()
    local = raw.get("target", "local") == "local"
    secrets = str(Layout.for_stack(stack, str(raw.get("state", ""))).secrets) if local else MOUNTED_SECRETS
    loaded = load(raw, encrypted, secrets)
    name = {"local": "local", "kubeconfig": "kubeconfig"}.get(loaded.config.target, "provisioning")
    target = importlib.import_module(f"infra.targets.{name}")
    found = [*target.mistakes(loaded, stack), *documents.mistakes(CHECKOUT, loaded.config.knowledge)]
    found += apps.mistakes(loaded.config, CHECKOUT)
    found = [*loaded.mistakes, *(m for m in found if m.setting not in loaded.invalid)]
    if found:
        raise pulumi.RunError(report(found))
    for line in application.scaling_lines(loaded.config):
        pulumi.log.info(line)
    planned: Target = target.plan(loaded.config, loaded.secrets, stack)
    return planned


def main() -> None:
    # Pulumi puts this folder on the path; its modules would shadow packages of the same name, such as kserve.
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
