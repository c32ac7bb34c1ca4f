"""What the source files of this checkout import and define. Each is parsed once in a process."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """What one file says by its statements."""

    imports: frozenset[str]
    """Every module that it imports, wherever in it, `TYPE_CHECKING` included; `from a import b` gives a and a.b."""
    at_import: frozenset[str]
    """Those of these modules that it imports as soon as it is imported itself."""
    functions: tuple[str, ...]
    classes: tuple[str, ...]
    documented: bool


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Every statement, wherever in a file; `ast.walk` would look at every expression too and take far longer."""
    for each in body:
        yield each
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(each, field, []))
        for part in (*getattr(each, "handlers", ()), *getattr(each, "cases", ())):
            yield from statements(part.body)


@cache
def source(path: Path) -> Source:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: set[str] = set()
    at_import: set[str] = set()
    functions, classes = [], []
    for each in statements(tree.body):
        match each:
            case ast.Import() | ast.ImportFrom(level=0):
                imports |= _imported(each)
                at_import |= _imported(each) if each.col_offset == 0 else set()
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                functions.append(name)
            case ast.ClassDef(name=name):
                classes.append(name)
    return Source(
        frozenset(imports), frozenset(at_import), tuple(functions), tuple(classes), bool(ast.get_docstring(tree))
    )


def _imported(statement: ast.Import | ast.ImportFrom) -> set[str]:
    names = {alias.name for alias in statement.names}
    if isinstance(statement, ast.Import):
        return names
    return {str(statement.module), *(f"{statement.module}.{name}" for name in names)}


def files(package: str) -> list[Path]:
    """The modules of a package of this checkout, or of a folder in it."""
    return sorted((ROOT / package).rglob("*.py"))
