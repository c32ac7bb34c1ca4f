"""`python -m tools.mirror`: what a stack on Kubernetes takes from elsewhere, for whoever fills a mirror.

One line for each: its kind, where it comes from, and for an image what the cluster pulls instead of it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

from infra import chart
from infra.addons import ADDONS
from infra.cluster_config import MOUNTED_SECRETS
from infra.config import StackConfig
from infra.config_loader import PLAIN_TEXT, load
from infra.mistakes import report
from infra.versions import Chart, Manifests
from tools.report import ToolError, say
from tools.workspace import Workspace


def items(config: StackConfig) -> Iterator[tuple[str, str, str]]:
    """Kind, origin, and what stands for it in this stack; each once."""
    yield "image", chart.image_reference(config.image), ""
    for pool in config.pools:
        if pool.image:
            yield "image", chart.image_reference(pool.image), ""
    for addon in ADDONS:
        if addon.choice(config) != "install":
            continue
        its = addon.chart(config)
        for origin in its.images.values():
            pulled = config.mirror.image(origin)
            yield "image", origin, pulled if pulled != origin else ""
        yield "chart", _where(its), ""
        if isinstance(addon.crds, Chart):
            yield "chart", _where(addon.crds), ""
        elif isinstance(addon.crds, Manifests):
            yield from (("file", f"{addon.crds.location}/{name}", "") for name in addon.crds.files)


def _where(its: Chart) -> str:
    if its.source == "repo":
        return f"{its.location} {its.name} {its.version}"
    return f"{its.location} {its.version}"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the list and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.mirror", description=__doc__)
    parser.add_argument("--stack", default=os.environ.get("STACK", "kubeconfig"))
    options = parser.parse_args(argv)
    try:
        loaded = load(Workspace.of(options.stack).settings(), frozenset(), MOUNTED_SECRETS)
        # The list is the same whether a secret is encrypted or not.
        if serious := [m for m in loaded.mistakes if m.problem != PLAIN_TEXT]:
            raise ToolError(report(serious))
        if loaded.config.target == "local":
            raise ToolError(f"stack '{options.stack}' runs on this host and pulls nothing")
        for kind, origin, pulled in dict.fromkeys(items(loaded.config)):
            print(f"{kind:<6} {origin}{f'  ->  {pulled}' if pulled else ''}")
    except ToolError as e:
        say(f"error: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
