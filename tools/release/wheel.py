"""Builds the distribution `headrace`: the command and the client, with those modules alone that they import."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.environment import locked_environment
from tools.report import ToolError

ENTRIES = ("headrace", "serving.cli.__main__", "serving.assistants.sandbox.worker")
"""What people import and run, and the program that the sandbox of `headrace evaluate` runs."""
LEFT_OUT = frozenset({"serving.store.__main__"})
"""`headrace export` runs this program, which reads the database on the stack's own host."""

BESIDE = ("pyproject.toml", "LICENSE", "headrace/README.md", "headrace/py.typed", "serving/py.typed")

_EPOCH = "315532800"
"""The time of each file in the archive, so that a commit has one wheel: 1980, where the times of ZIP begin."""
_BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def modules(root: Path) -> dict[str, Path]:
    """Returns the modules of the distribution by name, with the packages that they lie in."""
    found: dict[str, Path] = {}
    left = list(ENTRIES)
    while left:
        name = left.pop()
        file = None if name in LEFT_OUT or name in found else _file(root, name)
        if file is not None:
            found[name] = file
            left += [*_imports(file), *([name.rpartition(".")[0]] if "." in name else ())]
    return found


def foreign(root: Path) -> set[str]:
    """Returns the packages of others that these modules import, by their names in Python."""
    imported = {name.partition(".")[0] for file in modules(root).values() for name in _imports(file)}
    return imported - sys.stdlib_module_names - {entry.partition(".")[0] for entry in ENTRIES}


def build(root: Path, folder: Path) -> Path:
    """Writes the wheel into a folder and returns it. The build asks no package index.

    Raises:
        ToolError: the locked build backend cannot be obtained, or fails.
    """
    python = locked_environment("build") / "bin" / "python"
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for file in (*modules(root).values(), *(root / name for name in BESIDE)):
            copy = Path(place) / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            copy.chmod(0o644)
        command = [str(python), "-I", "-c", _BUILD, str(folder)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH}
        # The modes of what the build adds are in the archive, too.
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, umask=0o022)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise ToolError(f"the wheel cannot be built: {said[-1]}")
    return folder / done.stdout.splitlines()[-1]


def _file(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


def _imports(file: Path) -> set[str]:
    return set(_named(ast.parse(file.read_text(encoding="utf-8"))))


def _named(node: ast.AST) -> Iterator[str]:
    """Yields what the statements in a node import when they run; `from a import b` may mean the module a.b."""
    for each in ast.iter_child_nodes(node):
        match each:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                yield from (module, *(f"{module}.{alias.name}" for alias in aliases))
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case _:
                yield from _named(each)
