"""An answer that is drawn while it comes has the right nodes in a browser, for each example of two specifications."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.contract.page import sources
from tests.servers.browser import Chromium

EXAMPLES = """
  import { EXAMPLES } from "./tests/examples.js";
  process.stdout.write(JSON.stringify(EXAMPLES));
"""
AT_A_TIME = 100
SPECIFIED = 700
"""Different examples of CommonMark's specification and of GitHub's, at least."""


def test_an_answer_in_pieces_has_the_nodes_of_the_whole(tmp_path: Path) -> None:
    place = sources.copied(tmp_path)
    bundle = tmp_path / "drawn.js"
    sources.run(
        place,
        "node_modules/esbuild/bin/esbuild",
        "tests/drawn.js",
        "--bundle",
        "--format=iife",
        "--global-name=drawn",
        "--jsx=automatic",
        "--jsx-import-source=preact",
        "--log-level=warning",
        f"--outfile={bundle}",
    )
    texts: list[str] = json.loads(sources.run(place, "--input-type=module", "--eval", EXAMPLES))
    assert len(texts) > SPECIFIED
    browser = Chromium()
    try:
        with browser.page() as page:
            page.evaluate(f"{bundle.read_text()}; window.drawn = drawn; true")
            page.evaluate("drawn.load()")
            wrong: list[dict[str, Any]] = []
            answers = pieces = 0
            for first in range(0, len(texts), AT_A_TIME):
                some = json.dumps(texts[first : first + AT_A_TIME])
                found = page.evaluate(f"drawn.compare({some})")
                wrong += found["wrong"]
                answers += found["answers"]
                pieces += found["pieces"]
            assert wrong[:3] == []
            assert answers == 4 * len(texts)
            assert pieces > 10 * answers // 4
    finally:
        browser.close()
