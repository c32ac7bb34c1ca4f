"""`python -m tools.mirror`: lists the images, charts and files that a stack on Kubernetes downloads, to fill a mirror.

One line for each: its kind, its origin, and for a mirrored image the name that the cluster pulls.
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
from tools.stack.workspace import Workspace


def items(config: StackConfig) -> Iterator[tuple[str, str, str]]:
    """Yields kind, origin and, for a mirrored image, the name that the cluster pulls; there may be duplicates."""
    yield "image", chart.image_reference(config.image), ""
    for pool in config.pools:
        if pool.image:
            yield "image", chart.image_reference(pool.image), ""
        for volume in pool.volumes:
            if volume.image:
                pulled = config.mirror.image(volume.image)
                yield "image", volume.image, pulled if pulled != volume.image else ""
    for addon in ADDONS:
        if addon.choice(config) != "install":
            continue
        addon_chart = addon.chart(config)
        for origin in addon_chart.images.values():
            pulled = config.mirror.image(origin)
            yield "image", origin, pulled if pulled != origin else ""
        yield "chart", _origin(addon_chart), ""
        if isinstance(addon.crds, Chart):
            yield "chart", _origin(addon.crds), ""
        elif isinstance(addon.crds, Manifests):
            yield from (("file", f"{addon.crds.location}/{name}", "") for name in addon.crds.files)


def _origin(source: Chart) -> str:
    if source.source == "repo":
        return f"{source.location} {source.name} {source.version}"
    return f"{source.location} {source.version}"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the list and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.mirror", description=__doc__)
    parser.add_argument("--stack", default=os.environ.get("STACK", "kubeconfig"))
    options = parser.parse_args(argv)
    try:
        loaded = load(Workspace.prepare(options.stack).settings(), frozenset(), MOUNTED_SECRETS)
        # A secret in plain text does not change the list.
        if mistakes := [m for m in loaded.mistakes if m.problem != PLAIN_TEXT]:
            raise ToolError(report(mistakes))
        if loaded.config.target == "local":
            raise ToolError(f"stack '{options.stack}' runs on this host and pulls no images")
        for kind, origin, pulled in dict.fromkeys(items(loaded.config)):
            print(f"{kind:<6} {origin}{f'  ->  {pulled}' if pulled else ''}")
    except ToolError as e:
        say(f"error: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
