"""Files that are copied to machines or given to kubectl, with `@name` for what is known only later."""

from pathlib import Path
from string import Template

_FILES = Path(__file__).parent / "files"


class _At(Template):
    delimiter = "@"  # shells, units and Go's templates use the others


def fill(file: str, /, **values: str) -> str:
    """Returns the file with its names filled in; raises KeyError for one that is not given."""
    return _At((_FILES / file).read_text()).substitute(values)
