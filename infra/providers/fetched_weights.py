"""How much of their weights replicas have fetched, as `up` shows it: read from the metrics of an exporter."""

from __future__ import annotations

import re

from infra.nodes.resources import GIB

_SAMPLE = re.compile(r'^headrace_weights(_fetched)?_bytes\{model="([^"]+)"\} (\S+)$', re.MULTILINE)


def progress(exposition: str) -> dict[str, str]:
    """Returns the progress of each model whose weights are not complete, by its name."""
    size: dict[str, float] = {}
    there: dict[str, float] = {}
    for fetched, model, value in _SAMPLE.findall(exposition):
        (there if fetched else size)[model] = float(value)
    return {
        model: f"{there.get(model, 0) / GIB:.1f} of {whole / GIB:.1f} GiB ({100 * there.get(model, 0) / whole:.0f} %)"
        for model, whole in sorted(size.items())
        if there.get(model, 0) < whole
    }
