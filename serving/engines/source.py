"""Resolves a model's source URI to a file on this node, and verifies it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path


def resolve(source: str, sha256: str | None = None) -> Path:
    """Returns the path of the weights at `source`.

    `package://module/file` is a file in an installed Python package (which is found without importing it);
    `file:///path` is a file on the node. Raises `FileNotFoundError` when it is missing and `ValueError` when its
    checksum is not `sha256`.
    """
    scheme, _, rest = source.partition("://")
    if scheme == "package":
        path = in_package(source)
    elif scheme == "file":
        path = Path("/" + rest.lstrip("/"))
    else:
        raise ValueError(f"{source}: only package:// and file:// are supported")
    if not path.is_file():
        raise FileNotFoundError(f"{source}: there is no such file")
    if sha256 is not None:
        with path.open("rb") as f:
            found = hashlib.file_digest(f, "sha256").hexdigest()
        if found != sha256:
            raise ValueError(f"{source}: its sha256 is {found}, not {sha256}")
    return path


def in_package(source: str) -> Path:
    """Returns the path that `package://module/file` names; raises `FileNotFoundError` without the package."""
    module, _, name = source.partition("://")[2].partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{source}: the Python package {module} is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / name
