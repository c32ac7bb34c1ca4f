"""Who may import whom: the layers of the design, and what must stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.unit.sources import ROOT, files, source

LAYERS = (
    "cli",
    "api",
    "page",
    "inference",
    "assistants",
    "guardrails",
    "retrieval",
    "hub",
    "tuning",
    "metering",
    "engines",
    "protocol",
    "security",
    "exports",
    "store",
    "quotas",
    "telemetry",
    "config",
    "core",
)
"""The layers of `serving`, from the top: a package imports only itself and packages below it."""
INFRA = (
    "targets",
    "chart",
    "stack_secrets",
    "config_loader",
    "checks",
    "scheduling",
    "network",
    "addons",
    "volumes",
    "application",
    "apps",
    "documents",
    "kserve",
    "edge",
    "gpu",
    "config",
    "clouds",
    "policies",
    "targets/<cloud>",
    "providers",
    "onprem",
    "onprem_config",
    "resources",
    "nodes",
    "kubernetes",
    "cluster_config",
    "ingress_config",
    "cloud_config",
    "backend_config",
    "secret_config",
    "alerts",
    "mistakes",
    "layout",
    "versions",
    "programs",
)
"""The layers of `infra`, from the top: its folders, the folder of each cloud, and modules that lie beside them."""
PROGRAMS = {
    "serving": "nothing",
    "serving.app": "Ray Serve imports its builders by name",
    "serving.ray_node": "Ray's command line, on every node",
    "serving.loopback_haproxy": "HAProxy on one host",
    "serving.loopback_metrics": "parts of Ray on one host",
    "serving.dashboard_proxy": "a program of the head's pod",
    "serving.orphaned_actors": "a part of the dashboard proxy",
    "serving.ingest": "a client of the API",
    "serving.store.__main__": "`python -m serving.store`",
}
"""Modules that belong to no layer, with the reason."""


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph(*packages):
    """From each module to those of the packages that it imports."""
    paths = {dotted(path): path for package in packages for path in files(package)}

    def imported(path):
        found = {each for each in source(path).imports if each in paths}
        # What is imported out of a package is its module; the package is meant where nothing below it is.
        return {each for each in found if not any(other.startswith(f"{each}.") for other in found)}

    return {name: imported(path) - {name} for name, path in paths.items()}


def of_a_program(name):
    return name in PROGRAMS or name.rpartition(".")[0] in PROGRAMS.keys() - {"serving"}


def test_every_package_is_a_layer():
    layers = {name.split(".")[1] for name in graph("serving") if not of_a_program(name)}
    assert layers == set(LAYERS)


def room_of_infra(name):
    """The layer of a module of `infra`, and the cloud whose folder it lies in; of none is the program itself."""
    _, *parts = name.split(".")
    if parts[:1] == ["targets"] and len(parts) > 1 and (ROOT / "infra" / "targets" / parts[1]).is_dir():
        return "targets/<cloud>", parts[1]
    return (parts[0] if parts else "__main__"), ""


def test_every_folder_of_infra_is_a_layer():
    assert {room_of_infra(name)[0] for name in graph("infra")} - {"__main__"} == set(INFRA)


def test_infra_follows_its_layers():
    """So no two folders import each other, and what lies under the targets knows none of them."""
    wrong = []
    for me, others in graph("infra").items():
        mine, my_cloud = room_of_infra(me)
        for other in others if mine != "__main__" else ():
            room, cloud = room_of_infra(other)
            if INFRA.index(room) < INFRA.index(mine) or (my_cloud and cloud and cloud != my_cloud):
                wrong.append(f"{me} may not import {other}")
    assert wrong == []


def test_serving_follows_its_layers():
    wrong = []
    for path in files("serving"):
        me = dotted(path)
        for name in source(path).imports:
            package, _, rest = name.partition(".")
            if package in ("infra", "monitoring", "tools"):
                wrong.append(f"{me} imports {name}")
            elif package == "serving" and rest and not of_a_program(me):
                room = rest.partition(".")[0]
                if room not in LAYERS:
                    wrong.append(f"{me} imports {name}, which is of no room")
                elif LAYERS.index(room) < LAYERS.index(me.split(".")[1]):
                    wrong.append(f"{me} may not import {name}")
    assert wrong == []


def circles(edges):
    """Returns the groups of modules that import each other, by Tarjan's algorithm."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.parametrize("package", ["infra", "serving", "monitoring", "tools"])
def test_no_modules_import_each_other(package):
    assert circles(graph(package)) == []


OF_CLOUDS = r"infra\.targets\.\w+\.(capacity|limits|machines|operations|provision)"
LOADED = rf"infra|infra\.targets\.\w+|{OF_CLOUDS}|.*\.migrations\..*|.*\.headrace_apps\..*"
"""Modules that are found by their names, as clouds, targets and migrations are."""


def test_every_module_is_used_by_a_program():
    """Nothing lies in the product that tests alone use."""
    edges = graph("infra", "serving", "monitoring", "tools")
    paths = [path for package in ("infra", "serving", "monitoring", "tools") for path in files(package)]
    texts = [
        *paths,
        *(path for folder in ("charts", "images") for path in (ROOT / folder).rglob("*") if path.is_file()),
    ]
    # A program is started, and an engine or a format loaded, by a string that has its name.
    started = re.compile(r"\b(?:infra|serving|monitoring|tools)(?:\.\w+)+")
    text = "\n".join([path.read_text(errors="replace") for path in texts] + [(ROOT / "Makefile").read_text()])
    left = [name for name in edges if re.fullmatch(LOADED, name)]
    left += [dotted(path) for path in paths if path.stem == "__main__" or "\nif __name__ ==" in path.read_text()]
    left += set(started.findall(re.sub(r"(?m)^\s*(from|import) .*$|`[^`\n]*`", "", text))) & edges.keys()
    used = set()
    while left:
        if (name := left.pop()) not in used:
            used.add(name)
            left += edges[name] | ({name.rpartition(".")[0]} & edges.keys())
    assert edges.keys() - used == set()


FILES = 25
LINES = 400
OF_EVERY_TIER = {
    "changed.py",
    "conftest.py",
    "endings.py",
    "groups.py",
    "prepare.py",
    "replace.py",
    "second_chance.py",
    "sweep.py",
    "root_logger.py",
    "wait.py",
}
"""What lies in `tests` itself: how pytest runs, and what every tier uses."""


def test_files_and_folders_can_be_read():
    paths = [path for package in ("infra", "serving", "monitoring", "tools") for path in files(package)]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    folders = Counter(str(path.parent.relative_to(ROOT)) for path in paths)
    assert {name: n for name, n in lines.items() if n > LINES} == {}
    assert {name: n for name, n in folders.items() if n > FILES} == {}


def test_helpers_of_tests_lie_in_packages():
    assert {path.name for path in (ROOT / "tests").glob("*.py")} == OF_EVERY_TIER
    folders = Counter(str(path.parent.relative_to(ROOT)) for path in files("tests"))
    assert {name: n for name, n in folders.items() if n > FILES} == {}


def test_routes_import_no_routes():
    for path in files("serving/api/routes"):
        assert not [name for name in source(path).imports if name.startswith("serving.api.routes")], path


def test_only_the_api_knows_starlette():
    for path in files("serving"):
        if path.relative_to(ROOT / "serving").parts[0] != "api":
            assert not [name for name in source(path).imports if name.split(".")[0] in ("starlette", "fastapi")], path


SPEAKS_HTTP = {
    "assistants/tools/mcp_transport.py": "asks others, and answers for those that cannot be asked",
    "engines/client.py": "asks engines",
    "engines/measures/failures.py": "reads what engines answer",
    "engines/weights/hub.py": "asks the Hugging Face Hub",
    "security/provider.py": "asks identity providers",
    "telemetry/exporter.py": "answers Prometheus",
}
"""Modules below `api` whose statuses are not those of our errors, and why."""


def test_only_the_api_knows_the_statuses_of_errors():
    page = (ROOT / "docs/reference/errors.md").read_text()
    statuses = {int(each) for each in re.findall(r"^- `\w+` \((\d+)\):", page, re.MULTILINE)}
    below = [path for room in LAYERS[LAYERS.index("api") + 1 :] for path in files(f"serving/{room}")]
    named = {str(path.relative_to(ROOT / "serving")): found for path in below if (found := _named(path, statuses))}
    assert {name: found for name, found in named.items() if name not in SPEAKS_HTTP} == {}
    assert set(SPEAKS_HTTP) <= named.keys(), "names none any more: no exception"


def _named(path, statuses):
    """Numbers of a file that are statuses: what a call begins with, what `status` is, or is compared with."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)) if statuses & {int(n) for n in re.findall(r"\b\d{3}\b", text)} else ():
        if isinstance(node, ast.Call):
            given = [*node.args[:1], *(k.value for k in node.keywords if k.arg and "status" in k.arg)]
        elif isinstance(node, ast.Compare) and getattr(node.left, "attr", getattr(node.left, "id", "")) == "status":
            given = [each for one in node.comparators for each in ast.walk(one)]
        else:
            continue
        if named := [each.value for each in given if isinstance(each, ast.Constant) and each.value in statuses]:
            return named
    return []


def test_statuses_are_seen(tmp_path):
    (tmp_path / "raises.py").write_text('raise ApiError(404, "not_found")')
    (tmp_path / "asks.py").write_text("if e.status in (200, 500): pass")
    (tmp_path / "waits.py").write_text("MAX = 500; timeout(sleep, 404)")
    found = {path.stem: _named(path, {404, 500}) for path in tmp_path.iterdir()}
    assert found == {"raises": [404], "asks": [500], "waits": []}


@pytest.mark.parametrize("package", ["infra", "monitoring"])
def test_infra_and_monitoring_see_only_the_contract(package):
    allowed = {
        "infra": ("serving.config", "serving.ingest"),
        "monitoring": ("serving.telemetry.catalogue", "serving.core.erlang"),
    }[package]
    for path in files(package):
        for name in source(path).imports:
            if name == "serving" or name.startswith("serving."):
                assert name.startswith(allowed), f"{path} imports {name}"


@pytest.mark.parametrize(
    "module",
    ["serving.config", "serving.config.serve_document", "serving.ingest.__main__", "serving.telemetry.catalogue"],
)
def test_the_contract_is_light(module):
    assert loaded(module, "ray", "torch", "lancedb", "numpy") == "[]"


def test_the_gateway_imports_no_heavy_package():
    """MCP's SDK is imported with the first server, Ray where there is a replica, the others by replicas alone."""
    heavy = ("mcp", "mcp_types", "httpx2", "ray", "lancedb", "onnxruntime", "tokenizers")
    assert loaded("serving.api.app", *heavy) == "[]"


def test_collecting_unit_tests_imports_no_heavy_package():
    """Each process collects all modules, but only some of them run the tests that need these packages."""
    paths = {
        dotted(p): p
        for package in ("bench", "infra", "monitoring", "serving", "tests", "tools")
        for p in files(package)
    }
    found, ways = set(), [(dotted(path),) for path in files("tests/unit")]
    heavy = []
    while ways:
        way = ways.pop()
        for name in source(paths[way[-1]]).at_import:
            parts = name.split(".")
            if parts[0] in ("lancedb", "openai", "presidio_analyzer"):
                heavy.append(" -> ".join((*way, parts[0])))
            for each in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
                if each in paths and each not in found:
                    found.add(each)
                    ways.append((*way, each))
    assert heavy == []


def loaded(module, *names):
    """Which of these modules a process has imported that imports one of ours, as Python writes a list."""
    code = f"import sys, {module}; print([m for m in {names} if m in sys.modules])"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()
