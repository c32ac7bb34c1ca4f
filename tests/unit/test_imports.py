"""Who may import whom: the layers of the design, and what must stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [
    ("ui", "cli"),
    ("api",),
    ("assistants",),
    ("retrieval", "engines", "hub", "tuning"),
    ("security", "store", "exports"),
    ("telemetry", "config", "document", "confine", "signals"),
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", modules("serving"), ids=lambda p: str(p.relative_to(ROOT)))
def test_serving_follows_its_layers(path):
    parts = path.relative_to(ROOT / "serving").with_suffix("").parts
    mine = RANK.get(parts[0])
    for name in imports(path):
        assert name.split(".")[0] not in ("infra", "monitoring", "tools")
        target = name.split(".")[1:2]
        if mine is None or not name.startswith("serving.") or target[0] not in RANK:
            continue
        assert RANK[target[0]] > mine or target[0] in LAYERS[mine], f"{parts} may not import {name}"


@pytest.mark.parametrize("package", ["infra", "monitoring"])
def test_infra_and_monitoring_see_only_the_contract(package):
    allowed = {
        "infra": ("serving.config", "serving.document", "serving.ingest"),
        "monitoring": ("serving.telemetry.catalogue",),
    }[package]
    for path in modules(package):
        for name in imports(path):
            if name == "serving" or name.startswith("serving."):
                assert name.startswith(allowed), f"{path} imports {name}"


@pytest.mark.parametrize(
    "module", ["serving.config", "serving.document", "serving.ingest", "serving.telemetry.catalogue"]
)
def test_the_contract_is_light(module):
    code = f"import sys, {module}; print([m for m in ('ray', 'torch', 'lancedb', 'numpy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
