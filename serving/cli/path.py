"""Ids in paths of the API."""

from __future__ import annotations

from urllib.parse import quote

import click


def segment(id: str) -> str:
    """Returns an id as one segment of a path. Raises a `BadParameter` if it would change the path."""
    if id in ("", ".", ".."):
        raise click.BadParameter(f"{id!r} is not an id.")
    return quote(id, safe="")
