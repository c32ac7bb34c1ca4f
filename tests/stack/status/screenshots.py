"""`python -m tests.stack.status.screenshots`: draws the pages under `/status` into docs/images, in a real browser.

What they show is made up (see `tests/stack/status/history.py`), and the same in each run but for the time of day.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from tests.stack.status.browser import Chromium
from tests.stack.status.past import past
from tests.stack.status.served import PAGES, Status, faults, visit

FOLDER = Path(__file__).parents[3] / "docs" / "images"
WIDTH, HEIGHT, LOWEST = 1280, 900, 1600
"""In pixels; what lies below the lowest is left out."""
COLOURS = 256


def compressed(picture: bytes) -> bytes:
    """A PNG with a palette: charts have few colours."""
    with Image.open(io.BytesIO(picture)) as whole:
        part = whole.convert("RGB").crop((0, 0, whole.width, min(whole.height, LOWEST)))
    made = io.BytesIO()
    part.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


def main() -> int:
    """Returns the exit status: 1 when a page is not whole."""
    browser = Chromium()
    try:
        with past() as prometheus:
            server = Status(prometheus.url)
            try:
                for path in PAGES:
                    with browser.page(WIDTH, HEIGHT) as page:
                        visit(page, server.url + path)
                        if found := faults(page):
                            print(f"{path}: {'; '.join(found)}", file=sys.stderr)
                            return 1
                        name = path.removeprefix("/").replace("/", "-")
                        FOLDER.mkdir(exist_ok=True)
                        (FOLDER / f"{name}.png").write_bytes(compressed(page.picture()))
            finally:
                server.close()
    finally:
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
