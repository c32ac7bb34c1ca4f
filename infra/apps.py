"""Packs apps into the Serve document: it contains their source, so that all targets run them in the same way."""

from __future__ import annotations

import ast
import base64
import io
import lzma
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from infra.config import StackConfig
from infra.mistakes import Mistake
from serving.config import App, AppModel, AppSettings

SOURCE = "app"
"""Folder of an archive with the app's source."""

REQUIREMENTS = "requirements.txt"
"""File of an archive with the app's locked requirements."""

ARCHIVE_BYTES = 128 * 1024
"""Maximum compressed size of one app's archive: Serve's document, and on Kubernetes etcd, must hold it."""

ARCHIVES_BYTES = 384 * 1024
"""Maximum total size of all archives."""

_LEFT_OUT = {"__pycache__", "venv", "node_modules"}
_HASHED = re.compile(r"^[A-Za-z0-9][\w.\-\[\],]*\s*==\s*\S+.*--hash=sha256:[0-9a-f]{64}")
_AGGREGATES = (ast.Try, ast.If, ast.With)


def models(config: StackConfig, checkout: Path) -> tuple[AppModel, ...]:
    """Returns the apps for Serve and the gateway, with their source.

    The same files give the same archive, so that an app restarts only when it changes.
    """
    return tuple(
        each.model_copy(update={"archive": base64.b64encode(archive(app, checkout)).decode()})
        for app, each in zip(config.apps, unpacked(config), strict=True)
    )


def unpacked(config: StackConfig) -> tuple[AppModel, ...]:
    """Returns the apps like `models`, without their source."""
    return tuple(
        AppModel(
            **{name: getattr(app, name) for name in AppSettings.model_fields},
            installs=app.requirements is not None,
        )
        for app in config.apps
    )


def archive(app: App, checkout: Path) -> bytes:
    """Returns a tar archive, compressed with xz, of an app's folder and its requirement file. Raises `OSError`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        if app.folder is not None:
            folder = checkout / app.folder
            for file in _files(folder):
                _add(tar, f"{SOURCE}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        if (requirements := _requirements(app, checkout)) is not None:
            _add(tar, REQUIREMENTS, requirements.read_bytes())
    return lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # time and owner are the same everywhere
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))


def _files(folder: Path) -> Iterator[Path]:
    """Yields the files of an app, without hidden ones such as `.env` and `.venv`."""
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if file.is_file() and not any(part.startswith(".") or part in _LEFT_OUT for part in parts):
            yield file


def _requirements(app: App, checkout: Path) -> Path | None:
    """Returns the requirement file: in the app's folder, or else below the checkout."""
    if app.requirements is None:
        return None
    inside = checkout / (app.folder or "") / app.requirements
    return inside if inside.is_file() else checkout / app.requirements


def mistakes(config: StackConfig, checkout: Path) -> list[Mistake]:
    """Reports apps that are too large, or whose folder, object or requirement file is missing or invalid."""
    found: list[Mistake] = []
    total = 0
    for i, app in enumerate(config.apps):
        of_app = [*_source_mistakes(app, f"apps[{i}]", checkout), *_requirement_mistakes(app, f"apps[{i}]", checkout)]
        found += of_app
        if of_app:
            continue
        size = len(archive(app, checkout))
        total += size
        if size > ARCHIVE_BYTES:
            problem = f"has {size / 1024:.0f} KiB compressed, more than the limit of {ARCHIVE_BYTES >> 10} for an app"
            fix = "remove data, or build a wheel of the app and name that in its requirement file"
            found.append(Mistake(f"apps[{i}].folder", problem, fix))
    if total > ARCHIVES_BYTES:
        problem = f"have {total / 1024:.0f} KiB compressed, more than the limit of {ARCHIVES_BYTES >> 10} for all apps"
        found.append(Mistake("apps", problem, "build wheels of some, and name those in their requirement files"))
    return found


def _source_mistakes(app: App, key: str, checkout: Path) -> Iterator[Mistake]:
    if app.folder is None:
        if app.requirements is None:
            yield Mistake(
                f"{key}.folder", "is missing", "name the app's folder, or a requirement file with its package"
            )
        return
    folder = (checkout / app.folder).resolve()
    if not folder.is_dir():
        yield Mistake(f"{key}.folder", f"there is no folder {folder}", f"name a folder below {checkout}")
        return
    module, _, attribute = app.object.partition(":")
    file = next((f for f in _candidates(folder, module) if f.is_file()), None)
    if file is None:
        if app.requirements is None:
            yield Mistake(f"{key}.object", f"there is no module {module} in {folder}", "name a module in the folder")
        return  # an installed package may have it
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as e:
        yield Mistake(f"{key}.object", f"{file} is not Python: {e}", "correct it")
        return
    defined = set(_defined(tree.body))
    if attribute not in defined and not defined & {"*", "__getattr__"}:
        yield Mistake(f"{key}.object", f"{file} defines no '{attribute}'", "name an object that the module defines")


def _candidates(folder: Path, module: str) -> tuple[Path, Path]:
    path = folder.joinpath(*module.split("."))
    return path.with_suffix(".py"), path / "__init__.py"


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """Yields the names that a module's statements define; `*` for unknown ones."""
    for each in body:
        match each:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
            case ast.Assign(targets=targets):
                yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case _ if isinstance(each, _AGGREGATES):
                yield from _defined([n for n in ast.iter_child_nodes(each) if isinstance(n, ast.stmt)])


def _requirement_mistakes(app: App, key: str, checkout: Path) -> Iterator[Mistake]:
    file = _requirements(app, checkout)
    if file is None:
        return
    fix = f"write it with `uv pip compile --generate-hashes requirements.in -o {file.name}`"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        problem = getattr(e, "strerror", None) or "it is not a text file"
        yield Mistake(f"{key}.requirements", f"{file} cannot be read: {problem}", fix)
        return
    for line in _requirement_lines(text):
        if not _HASHED.match(line):
            problem = f"{file} has a line that is not a pinned version with its hash: '{line[:60]}'"
            yield Mistake(f"{key}.requirements", problem, fix)
            return


def _requirement_lines(text: str) -> Iterator[str]:
    """Yields the requirements in a file, one line each, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()
