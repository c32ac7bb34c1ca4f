"""`pytest --changed`: only the test modules that a change can reach.

The change is what differs from a commit, with what is not committed and not tracked. A test module is chosen when it
was changed itself, or when it leads to a changed file by names: of modules (in an import anywhere, or in a string such
as a subprocess is started with), of fixtures whose conftest leads there, or of the file itself.
Where names are not enough, whole folders of tests are selected. Reading names instead of parsing takes a second for
the whole checkout, and selects rather too many tests than too few.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath

import pytest

EVERYTHING = ("pyproject.toml", "requirements/")
"""Prefixes of paths on which every test depends."""
TEST_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "charts/": ("charts", "plan", "rendering"),
    "docs/": ("docs",),
    "serving/page/assets/": ("page",),
    "ui/": ("page",),
    "Pulumi": ("docs", "infra", "plan", "rendering", "tools"),
}
"""Folders of tests that read files with these prefixes without naming each; other data is named, or is in a package."""

_PARAMETERS = re.compile(r"\bdef \w+\(([^)]*)\)")
_ASKED = re.compile(r"\b(?:usefixtures|getfixturevalue)\(([^)]*)\)")
_PROSE = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""|#.*')
_WORD = re.compile(r"\b[A-Za-z_]\w*")
_ENTRY = ("__init__.py", "__main__.py", "conftest.py")


class Selection:
    """The files of a checkout and what leads to what; files that are gone since count as those that are there."""

    def __init__(self, root: Path, changed: Collection[str]) -> None:
        self.changed = set(changed)
        listed = {*_git(root, "ls-files", "--cached", "--others", "--exclude-standard"), *changed}
        self._text = {file: _read(root / file) for file in sorted(listed) if file.endswith(".py")}
        self._modules = {_dotted(file): file for file in self._text}
        packages = "|".join(sorted({name.partition(".")[0] for name in self._modules}))
        self._names = re.compile(rf"\b(?:{packages})(?:\.\w+)+")
        self._imports = re.compile(
            rf"^[ \t]*(?:from ((?:{packages})[\w.]*) import (\([^)]*\)|.*)|import ((?:{packages})\b.*))", re.MULTILINE
        )

    @cached_property
    def tests(self) -> frozenset[str]:
        """Every test module."""
        return frozenset(file for file in self._text if file.startswith("tests/") and _name(file).startswith("test_"))

    def chosen(self) -> set[str]:
        """The test modules that the change can reach."""
        found: set[str] = set()
        begin: set[str] = set()
        for file in self.changed:
            if file.startswith(EVERYTHING):
                return set(self.tests)
            if _name(file) == "conftest.py":
                found |= self._below(file)
            elif file in self._text:
                begin |= {file} | (self._naming(_name(file)) if _name(file) not in _ENTRY else set())
            else:
                readers, folders = self._readers(file), self._folders(file)
                if not readers | folders:
                    return set(self.tests)
                begin |= readers
                found |= folders
        return found | (self._leading_to(begin) & self.tests)

    def _leading_to(self, files: Iterable[str]) -> set[str]:
        reached, ahead = set(), list(files)
        while ahead:
            if (file := ahead.pop()) not in reached:
                reached.add(file)
                ahead += self._users[file]
        return reached

    @cached_property
    def _users(self) -> Mapping[str, set[str]]:
        """By file, those that lead to it in one step."""
        users: dict[str, set[str]] = defaultdict(set)
        fixtures = {file: self._fixtures(file) for file in self._text if _name(file) == "conftest.py"}
        for file, text in self._text.items():
            if file in fixtures:
                continue  # what it leads to, those lead to that use its fixtures
            # What the product says of other modules in words leads nowhere; a test's script may be such a text.
            used = self._references(text if file.startswith("tests/") else _PROSE.sub("", text))
            if file in self.tests:
                used |= self._by_fixtures(file, fixtures)
            for other in used:
                users[other].add(file)
        return users

    def _references(self, text: str) -> set[str]:
        """The files of the modules that a text names; of a package in a string also what `python -m` runs."""
        imported: set[str] = set()
        for package, members, plain in self._imports.findall(text):
            imported |= {f"{package}.{member}" for member in _WORD.findall(members)} if package else set()
            imported |= {name.strip().partition(" ")[0] for name in plain.split(",")} if plain else set()
        named = set(self._names.findall(self._imports.sub("", text)))
        named |= {f"{name}.__main__" for name in named}
        return {file for name in imported | named for file in self._files(name)}

    def _files(self, name: str) -> Iterator[str]:
        """A module with the packages that it lies in."""
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            if file := self._modules.get(".".join(parts[:length])):
                yield file

    def _fixtures(self, conftest: str) -> dict[str, tuple[set[str], set[str]]]:
        """By a conftest's fixture, what it leads to and the names that it asks for; "" is what every test below has."""
        text = self._text[conftest]
        body = ast.parse(text).body
        imported: dict[str, set[str]] = {}
        parts: dict[str, ast.stmt] = {}
        common: list[ast.stmt] = []
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                before = f"from {node.module} import " if isinstance(node, ast.ImportFrom) else "import "
                for alias in node.names:
                    name = (alias.asname or alias.name).partition(".")[0]
                    imported[name] = self._references(f"{before}{alias.name}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                parts[node.name] = node
                if node.name.startswith("pytest_") or "autouse=True" in _decorators(node):
                    common.append(node)
            elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
                common.append(node)

        def of(nodes: Iterable[ast.stmt]) -> tuple[set[str], set[str]]:
            files, asked, seen, ahead = set[str](), set[str](), set[str](), list(nodes)
            while ahead:
                node = ahead.pop()
                source = ast.unparse(node)
                files |= self._references(source)
                asked |= _asked(source)
                for name in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - seen:
                    seen.add(name)
                    files |= imported.get(name, set())
                    ahead += [parts[name]] if name in parts else []
            return files, asked

        found = {name: of([node]) for name, node in parts.items() if "fixture" in _decorators(node)}
        return {**found, "": of(common)}

    def _by_fixtures(self, test: str, fixtures: Mapping[str, dict[str, tuple[set[str], set[str]]]]) -> set[str]:
        """What a test module leads to by the fixtures of the conftests above it."""
        above = [known for conftest, known in fixtures.items() if test.startswith(_folder(conftest))]
        asked, ahead, files = set[str](), ["", *_asked(self._text[test])], set[str]()
        while ahead:
            if (name := ahead.pop()) in asked:
                continue
            asked.add(name)
            # A name that is made as the test runs may be any.
            ahead += [each for known in above for each in known] if name == "*" else []
            for known in above:
                more, others = known.get(name, (set(), set()))
                files |= more
                ahead += others
        return files

    def _readers(self, file: str) -> set[str]:
        """The modules that name a file of data, and those of the package that it lies in."""
        naming = self._naming(_name(file))
        folder = PurePosixPath(file).parent
        if file.startswith("tests/"):
            naming |= {each for part in folder.parts[1:] for each in self._naming(part) if each.startswith("tests/")}
            beside = (self._below(f"{above}/") for above in (folder, *folder.parents))
            return naming | next(filter(None, beside), set())
        for above in (folder, *folder.parents):
            if beside := {each for each in self._text if PurePosixPath(each).parent == above and above.name}:
                return naming | beside
        return naming

    def _naming(self, name: str) -> set[str]:
        word = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")
        return {file for file, text in self._text.items() if name in text and word.search(text)}

    def _folders(self, file: str) -> set[str]:
        folders = {folder for beginning, of in TEST_FOLDERS.items() if file.startswith(beginning) for folder in of}
        return {test for test in self.tests if folders & set(PurePosixPath(test).parts)}

    def _below(self, file: str) -> set[str]:
        return {test for test in self.tests if test.startswith(_folder(file))}


def changed_since(root: Path, ref: str = "") -> tuple[str, set[str]]:
    """Returns a commit and what differs from it; without `ref` it is where this branch left main, else HEAD.

    Raises `LookupError` when there is no such commit.
    """
    refs = [ref] if ref else ["origin/main", "main", "HEAD"]
    for name in refs:
        if base := _git(root, "merge-base", "HEAD", name):
            differing = {*_git(root, "diff", "--name-only", "--no-renames", base[0].strip(), "--")}
            return base[0].strip(), differing | {*_git(root, "ls-files", "--others", "--exclude-standard")}
    raise LookupError(f"there is no commit {' or '.join(refs)}")


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "only test modules that a change since REF can reach (default: where this branch left main); write it last"
    parser.addoption("--changed", nargs="?", const="", metavar="REF", help=help)


def pytest_configure(config: pytest.Config) -> None:
    ref = config.getoption("--changed")
    if ref is None:
        return
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Chooser(config.rootpath, *config.workerinput["changed"]))
        return
    try:
        base, changed = changed_since(config.rootpath, ref)
    except LookupError as error:
        raise pytest.UsageError(f"--changed: {error}; write --changed=REF, or --changed behind all paths") from None
    selection = Selection(config.rootpath, changed)
    chosen = selection.chosen() if changed else set()
    said = f"changed: {len(changed)} files since {base[:10]}; {len(chosen)} of {len(selection.tests)} test modules"
    config.pluginmanager.register(Chooser(config.rootpath, sorted(chosen), said))


class Chooser:
    """Leaves out what was not chosen. A file that the command line names is run all the same."""

    def __init__(self, root: Path, chosen: Collection[str], said: str) -> None:
        self._chosen = {root / file for file in chosen}
        self._folders = {folder for file in self._chosen for folder in file.parents}
        self._tests = root / "tests"
        self._passed_on = [list(chosen), said]

    def pytest_report_header(self) -> str:
        return self._passed_on[1]

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        if not collection_path.is_relative_to(self._tests):
            return None
        if collection_path.is_dir():
            return None if collection_path in self._folders else True
        if not collection_path.name.startswith("test_"):
            return None
        return None if collection_path in self._chosen else True

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        node.workerinput["changed"] = self._passed_on  # ty: ignore[missing-attribute]


def _asked(source: str) -> set[str]:
    """Names that may be fixtures; "*" for any, where one is made as the test runs."""
    asked = {name for parameters in _PARAMETERS.findall(source) for name in _WORD.findall(parameters)}
    for arguments in _ASKED.findall(source):
        asked |= set(_WORD.findall(arguments)) if re.fullmatch(r"""(["'\w\s,])*["']\s*,?\s*""", arguments) else {"*"}
    return asked


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.stmt) -> str:
    return " ".join(ast.unparse(each) for each in getattr(node, "decorator_list", ()))


def _git(root: Path, *arguments: str) -> list[str]:
    """What git lists; nothing when it fails."""
    more = ("-z",) if arguments[0] != "merge-base" else ()
    command = ["git", "-C", str(root), arguments[0], *more, *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    return [each for each in done.stdout.split("\0") if each] if done.returncode == 0 else []


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""


def _dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _name(file: str) -> str:
    return PurePosixPath(file).name


def _folder(file: str) -> str:
    return f"{PurePosixPath(file).parent}/"
