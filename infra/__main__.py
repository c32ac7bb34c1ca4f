"""The Pulumi program: configuration -> target with the application and its knowledge -> outputs."""

from __future__ import annotations

import sys
from pathlib import Path

import pulumi
from pulumi.runtime import config as runtime

from infra import documents
from infra.cluster_config import MOUNTED
from infra.config import NAMESPACE, Loaded, load
from infra.mistakes import Mistake, block
from infra.targets import Target
from infra.targets.layout import CHECKOUT, Layout


def raw_settings() -> tuple[dict[str, object], frozenset[str]]:
    """The settings of this stack without their namespace, and which of them are encrypted."""
    prefix = f"{NAMESPACE}:"
    names = {**runtime.get_config_env(), **runtime.CONFIG.get()}
    raw = {k.removeprefix(prefix): v for k, v in names.items() if k.startswith(prefix)}
    return raw, frozenset(k for k in raw if runtime.is_config_secret(prefix + k))


def refuse(result: Loaded, found: list[Mistake]) -> None:
    """Ends the program with one readable block of all mistakes, if there is one."""
    mistakes = [*result.mistakes, *(m for m in found if m.setting not in result.unread)]
    if mistakes:
        raise pulumi.RunError(block(mistakes))


def plan() -> Target:
    """Each target loads what it needs, and nothing of the others."""
    raw, encrypted = raw_settings()
    layout = Layout.of(pulumi.get_stack(), str(raw.get("state", "")))
    on_cluster = raw.get("target", "local") != "local"
    result = load(raw, encrypted, MOUNTED if on_cluster else str(layout.secrets))
    found = documents.mistakes(CHECKOUT, result.config.knowledge)
    if result.config.target == "kubeconfig":
        from infra.targets import kubeconfig

        found += kubeconfig.mistakes(result, pulumi.get_stack())
        refuse(result, found)
        return kubeconfig.kubeconfig(result.config, result.secrets, pulumi.get_stack())
    from infra.targets import local, preflight

    refuse(result, preflight.mistakes(result.config, layout, local.PROGRAMS) + found)
    return local.local(result.config, layout, result.secrets)


def main() -> None:
    # Pulumi puts this folder on the path, where modules of ours would hide packages of the same name (kserve).
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).resolve().parent]
    target = plan()
    pulumi.export("url", target.url)
    pulumi.export("api_key", target.api_key)
    pulumi.export("prometheus_url", target.prometheus_url)
    pulumi.export("dashboards", dict(target.dashboards))


if __name__ == "__main__":
    main()
