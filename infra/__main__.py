"""The Pulumi program: configuration -> target with the application -> knowledge -> outputs."""

from __future__ import annotations

import pulumi
from pulumi import ResourceOptions
from pulumi.runtime import config as runtime

from infra import documents
from infra.config import NAMESPACE, Loaded, load
from infra.mistakes import block
from infra.resources import Knowledge
from infra.targets import preflight
from infra.targets.layout import CHECKOUT, Layout
from infra.targets.local import PROGRAMS, local


def loaded() -> tuple[Loaded, Layout]:
    """The valid configuration of this stack, or one readable block of all mistakes."""
    prefix = f"{NAMESPACE}:"
    names = {**runtime.get_config_env(), **runtime.CONFIG.get()}
    raw = {k.removeprefix(prefix): v for k, v in names.items() if k.startswith(prefix)}
    encrypted = frozenset(k for k in raw if runtime.is_config_secret(prefix + k))
    layout = Layout.of(pulumi.get_stack(), str(raw.get("state", "")))
    result = load(raw, encrypted, str(layout.secrets))
    config = result.config
    host = preflight.mistakes(config, layout, PROGRAMS) + documents.mistakes(CHECKOUT, config.knowledge)
    mistakes = [*result.mistakes, *(m for m in host if m.setting not in result.unread)]
    if mistakes:
        raise pulumi.RunError(block(mistakes))
    return result, layout


def main() -> None:
    stack, layout = loaded()
    target = local(stack.config, layout, stack.secrets)
    for collection in stack.config.knowledge:
        Knowledge(
            f"knowledge-{collection.name}",
            url=target.url,
            key_path=target.key_path,
            collection=collection.name,
            root=str(CHECKOUT),
            documents=documents.documents(CHECKOUT, collection.paths),
            on_error=collection.on_error,
            # `down` keeps data: a collection is deleted only when it is taken out of the configuration.
            opts=ResourceOptions(parent=target.parent, depends_on=[target.ready], deleted_with=target.ready),
        )
    pulumi.export("url", target.url)
    pulumi.export("api_key", target.api_key)
    pulumi.export("prometheus_url", target.prometheus_url)
    pulumi.export("dashboards", dict(target.dashboards))


if __name__ == "__main__":
    main()
