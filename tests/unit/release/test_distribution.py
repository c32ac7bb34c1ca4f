"""What the distribution `headrace` declares is what its modules import."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from tools.release import wheel

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CORE = PROJECT["project"]["dependencies"]
FULL = PROJECT["project"]["optional-dependencies"]["full"]
MODULES = {
    "markdown-it-py": "markdown_it",
    "prometheus-client": "prometheus_client",
    "pydantic-monty-client": "pydantic_monty",
    "pyyaml": "yaml",
}
UNIMPORTED = {"pydantic-monty": "the interpreter, a program; its client is imported"}
BROUGHT = {"idna": "httpx brings it"}


def test_each_imported_package_is_declared_once():
    declared = [Requirement(each).name for each in (*CORE, *FULL)]
    assert len(set(declared)) == len(declared)
    imported = {MODULES.get(name, name) for name in declared if name not in UNIMPORTED}
    assert {*imported, *BROUGHT} == wheel.foreign(ROOT)


def test_its_locked_group_and_the_stack_ask_for_the_same():
    groups = PROJECT["dependency-groups"]
    assert groups["client"] == CORE
    assert {*CORE, *FULL} <= set(groups["serving"])


def test_modules_are_followed_wherever_a_file_imports_them(tmp_path):
    for name, text in {
        "headrace/__init__.py": "from serving.a import b\n",
        "serving/__init__.py": "",
        "serving/a/__init__.py": "",
        "serving/a/b.py": "def f():\n    try:\n        import serving.c.d\n    except OSError:\n        import yaml\n",
        "serving/c/__init__.py": "",
        "serving/c/d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from serving.c import e\n",
        "serving/c/e.py": "",
        "serving/cli/__init__.py": "",
        "serving/cli/__main__.py": "from serving.store.__main__ import main\n",
        "serving/store/__init__.py": "",
        "serving/store/__main__.py": "",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    named = {"headrace", "serving", "serving.a", "serving.a.b", "serving.c", "serving.c.d"}
    assert set(wheel.modules(tmp_path)) == named | {"serving.cli", "serving.cli.__main__"}
    assert wheel.foreign(tmp_path) == {"yaml"}
