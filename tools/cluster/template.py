"""Files of the test cluster alone, with `@name` for what is known only later."""

from pathlib import Path

from infra.onprem import template

_FILES = Path(__file__).parent / "files"


def fill(file: str, /, **values: str) -> str:
    """Returns the file with its names filled in; raises KeyError for one that is not given."""
    return template.fill(file, _FILES, **values)
