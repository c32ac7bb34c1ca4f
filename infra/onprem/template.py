"""Reads the files for hosts and clusters, and renders their `@name` placeholders."""

from __future__ import annotations

from pathlib import Path
from string import Template

from infra.resources.resource import fingerprint

_FILES = Path(__file__).parent / "files"


class _AtTemplate(Template):
    delimiter = "@"  # `$` and `{` have a meaning in shell scripts, systemd units and Go templates


def read_file(file: str) -> str:
    """Returns a file without rendering."""
    return (_FILES / file).read_text()


def render(file: str, /, folder: Path = _FILES, **values: str) -> str:
    """Returns a file with its placeholders replaced; raises KeyError for a missing value."""
    return _AtTemplate((folder / file).read_text()).substitute(values)


def revision() -> str:
    """Returns a digest of all files, which changes with the version of Headrace."""
    return fingerprint({path.name: path.read_text() for path in sorted(_FILES.iterdir())})
