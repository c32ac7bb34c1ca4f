"""What runbooks say, for the descriptions of alerts."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "runbooks"
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


def meaning(alert: str) -> str:
    """Returns what an alert means, as one line without links."""
    text = (FOLDER / f"{alert}.md").read_text(encoding="utf-8")
    section = text.partition("\n## What it means\n")[2].partition("\n## ")[0]
    return " ".join(_LINK.sub(r"\1", section).split())
