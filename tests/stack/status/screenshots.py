"""`python -m tests.stack.status.screenshots`: draws the pages under `/status` into docs/images, in a real browser.

What they show is made up (see `tests/stack/status/history.py`), and the same in each run but for the time of day.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.servers.browser import Chromium
from tests.servers.picture import compressed
from tests.stack.status.past import past
from tests.stack.status.served import PAGES, Status, faults, visit

FOLDER = Path(__file__).parents[3] / "docs" / "images"
WIDTH, HEIGHT, LOWEST = 1280, 900, 1600
"""In pixels; what lies below the lowest is left out."""


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
                        (FOLDER / f"{name}.png").write_bytes(compressed(page.picture(), LOWEST))
            finally:
                server.close()
    finally:
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
