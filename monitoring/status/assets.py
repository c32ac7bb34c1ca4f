"""The static files for the browser: the page's own, and those of the charting library.

uPlot (MIT) is contained in the locked package `youplot`, byte for byte as its author publishes it. The package's
Python code is never imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

STATIC = Path(__file__).with_name("static")
PACKAGE = "youplot"


def library() -> Mapping[str, Path]:
    """Returns the charting library's files by the name under which they are served; raises `FileNotFoundError`."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the Python package {PACKAGE} is not installed; run `make venv`")
    folder = Path(next(iter(spec.submodule_search_locations))) / "vendor"
    files = {"uplot.js": folder / "uplot.iife.min.js", "uplot.css": folder / "uplot.min.css"}
    for file in files.values():
        if not file.is_file():
            raise FileNotFoundError(f"the Python package {PACKAGE} does not contain {file.name}")
    return files


def files() -> Mapping[str, Path]:
    """Returns every static file by name; raises `FileNotFoundError`."""
    return {**library(), **{file.name: file for file in STATIC.iterdir() if file.is_file()}}
