"""Who may import whom: the layers of the design, and what must stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
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


ROOMS = ("infra", "serving", "monitoring", "tools")
RUNS, DEVELOPS = (
    re.search(rf"^{name} := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for name in ("RUNS", "DEVELOPS")
)
ADDED = {"aws", "gcp", "azure", "redaction"}
"""Groups that a stack brings where it needs them."""


def file_of(module):
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def reached(entries):
    """Every module that these import, wherever in a file, and the names that they import of others."""
    seen, others, left = set(), {}, list(entries)
    while left:
        module = left.pop()
        parents = [module.rsplit(".", n)[0] for n in range(module.count(".") + 1)]
        for each in parents:
            if each in seen or (file := file_of(each)) is None:
                continue
            seen.add(each)
            for name in imports(file):
                if name.split(".")[0] in ROOMS:
                    left.append(name)
                else:
                    others.setdefault(name.split(".")[0], each)
    return seen, others


def entries():
    """What a stack consists of, and what the verbs call that install no development packages."""
    for room in ("infra", "serving", "monitoring/status"):
        yield from (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules(room))
    verbs = re.findall(r"^[a-z-]+: \$\(RUN\) ##.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for module in re.findall(r"-m (tools[\w.]*)", "".join(verbs)):
        yield from (module, f"{module}.__main__")


def distributions(groups):
    text = "".join((ROOT / f"requirements/{group}.txt").read_text() for group in groups)
    return {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)", text, re.MULTILINE)}


def test_what_runs_imports_no_development_package():
    """`make up` installs the groups `RUNS` alone."""
    assert set(DEVELOPS) >= ADDED
    seen, others = reached(entries())
    assert {"tools.stack", "tools.plan", "tools.find", "monitoring.status.app", "serving.app"} <= seen
    there = distributions([*RUNS, *ADDED])
    owners = metadata.packages_distributions()
    lacking = {
        name: module
        for name, module in others.items()
        if name in owners and not any(owner.lower().replace("_", "-") in there for owner in owners[name])
    }
    assert not lacking
