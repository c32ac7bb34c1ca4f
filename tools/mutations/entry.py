"""Entries of the list: what each breaks, where, and the test that must fail."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools.report import ToolError

Tier = Literal["stack", "cluster"]


class Mutation(BaseModel):
    """One entry: `old` occurs in `file` once, and `test` (FILE::NAME) fails when `new` replaces it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    breaks: str = Field(min_length=1)
    file: str
    old: str = Field(min_length=1)
    new: str
    test: str = Field(pattern=r"^[^:]+\.py::\w+(::\w+)?$")
    tier: Tier | None = None

    def apply_to(self, text: str) -> str:
        """Returns the file's text in the mutant."""
        return text.replace(self.old, self.new)


def read_list(file: Path) -> list[Mutation]:
    """Returns the entries of a list. Raises `ToolError` for an invalid list or a duplicate id."""
    try:
        found = [Mutation.model_validate(entry) for entry in yaml.load(file.read_text(), yaml.CSafeLoader)]
    except (OSError, TypeError, yaml.YAMLError, ValidationError) as error:
        raise ToolError(f"{file} is not a list of mutations: {error}") from None
    ids = [mutation.id for mutation in found]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        raise ToolError(f"{file} has {', '.join(twice)} twice")
    return found


def read_tests(root: Path) -> dict[Path, str]:
    """Returns the text of every test file."""
    return {path.relative_to(root): path.read_text() for path in sorted((root / "tests").rglob("*.py"))}


def find_test(tests: Mapping[Path, str], test: str) -> str:
    """Returns the node id of a test, whose file has this name, or ends with this path, and defines it.

    Raises `LookupError`.
    """
    file, _, name = test.partition("::")
    function = name.rpartition("::")[2]
    defining: dict[Path, list[str]] = {}
    for path, text in tests.items():
        if f"def {function}(" in text:
            functions = list(_functions(ast.parse(text).body))
            # A method may be named without its class where no function of the module has its name.
            names = [name] if name in functions else [each for each in functions if each.endswith(f"::{name}")]
            defining |= {path: names} if names else {}
    parts = Path(file).parts
    found = [
        f"{path}::{each}" for path, names in defining.items() if path.parts[-len(parts) :] == parts for each in names
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise LookupError(f"{test} is {' and '.join(found)}: name one by a longer path, or by its class")
    elsewhere = f", which is in {' and '.join(map(str, defining))}" if defining else ""
    raise LookupError(f"no file {file} under tests defines {name}{elsewhere}")


def _functions(body: Iterable[ast.stmt], within: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield within + node.name
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{within}{node.name}::")


def misfit_reason(root: Path, tests: Mapping[Path, str], mutation: Mutation) -> str:
    """Returns why an entry no longer applies; empty if it does."""
    file = root / mutation.file
    if not file.is_file():
        return f"{mutation.file} does not exist"
    if (count := file.read_text().count(mutation.old)) != 1:
        return f"the snippet occurs {count} times in {mutation.file}, where it must occur once"
    if file.suffix == ".py" and not _is_python(mutation.apply_to(file.read_text())):
        return f"with `new`, {mutation.file} is not valid Python"
    try:
        find_test(tests, mutation.test)
    except LookupError as error:
        return str(error)
    return ""


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
