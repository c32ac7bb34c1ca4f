"""`python -m tests.stack.dashboards.screenshots`: draws the dashboards of the console into docs/images.

What they show is made up (see `tests/stack/dashboards/history.py`), and the same in each run but for the time of day.
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

from PIL import Image

from tests.servers.browser import Chromium
from tests.stack.dashboards.drawn import NAMES, console, dashboard, faults
from tests.stack.dashboards.past import past

FOLDER = Path(__file__).parents[3] / "docs" / "images" / "dashboards"
WIDTH, HEIGHT, QUALITY = 1280, 1600, 70
"""In pixels; what lies below is left out. WebP keeps so much of a picture, of 100."""


def main() -> int:
    """Returns the exit status: 1 when a dashboard is not whole."""
    browser = Chromium()
    try:
        with past() as prometheus, console(prometheus.url, browser) as operated:
            for name in NAMES:
                with dashboard(operated, name) as shown:
                    if found := faults(shown):
                        print(f"{name}: {'; '.join(found)}", file=sys.stderr)
                        return 1
                    shown.page.size(WIDTH, HEIGHT)
                    shown.page.settle()
                    shot = base64.b64decode(shown.page.ask("Page.captureScreenshot", format="png")["data"])
                    FOLDER.mkdir(exist_ok=True)
                    with Image.open(io.BytesIO(shot)) as picture:
                        picture.convert("RGB").save(FOLDER / f"{name}.webp", "WEBP", quality=QUALITY, method=6)
    finally:
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
