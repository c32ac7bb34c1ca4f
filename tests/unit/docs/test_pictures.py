"""`docs/pictures.md` shows each view of the console, and each picture that `make screenshots` draws of a page."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "docs" / "images" / "pages"


def shown() -> list[str]:
    return re.findall(r"\(images/pages/([\w-]+)\.webp\)", (ROOT / "docs" / "pictures.md").read_text())


def test_each_picture_of_a_page_is_shown_once() -> None:
    assert sorted(shown()) == sorted(path.stem for path in PICTURES.iterdir())


def test_each_view_of_the_console_has_a_picture() -> None:
    source = (ROOT / "ui" / "src" / "admin" / "views" / "index.ts").read_text()
    views = re.findall(r"^  (\w+): \{ label:", source, re.MULTILINE)
    assert len(views) > 20
    assert {f"console-{view}" for view in views} <= set(shown())
