"""Leaves the rows of one rater out of what a job is trained on, to measure what they change."""

from __future__ import annotations

import json
from pathlib import Path

from serving.store.jobs.worker import PermanentError


def leave_out(rows: Path, lineage: Path, rater: str) -> int:
    """Removes the rows of a rater (a hash, as on the card) from a file, and returns their number.

    Raises `PermanentError` for a lineage without raters, or of another number of rows.
    """
    lines, sources = rows.read_bytes().splitlines(keepends=True), lineage.read_bytes().splitlines()
    try:
        theirs = [rater in json.loads(source)["raters"] for source in sources]
        kept = [line for line, gone in zip(lines, theirs, strict=True) if not gone]
    except (KeyError, ValueError):
        raise PermanentError("no_raters", "the data set does not say who rated its rows: freeze a new one") from None
    rows.write_bytes(b"".join(kept))
    return len(lines) - len(kept)
