"""Files for hosts and clusters, with `@name` for what is known only later."""

from __future__ import annotations

from pathlib import Path
from string import Template

from infra.providers.resource import fingerprint

_FILES = Path(__file__).parent / "files"


class _AtTemplate(Template):
    delimiter = "@"  # shells, units and Go's templates use the others


def read_file(file: str) -> str:
    """The file as it stands."""
    return (_FILES / file).read_text()


def render(file: str, /, folder: Path = _FILES, **values: str) -> str:
    """The file with its names filled in; raises KeyError for one that is not given."""
    return _AtTemplate((folder / file).read_text()).substitute(values)


def revision() -> str:
    """Another one when this version of Headrace writes other files."""
    return fingerprint({path.name: path.read_text() for path in sorted(_FILES.iterdir())})
