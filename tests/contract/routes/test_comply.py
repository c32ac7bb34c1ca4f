"""llm-comply's suites of OpenAI chat and of Open Responses: what applies passes, what does not is here with its reason.

docs/reference/compatibility.md tells users the same.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tools import environment

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "compatibility.md"
SUITES = ("openai-chat", "open-responses")
SUITE_S = 800

NO_REASONING = "the suite asks only models with the names of OpenAI's reasoning models, which are not here"
NO_COMPACTION = "there is no such route: a POST at what could be a response is a 405, and the suite takes a 404 alone"
NO_PICTURES = "the model reads text only, so a picture is refused with a 400; the ticker shows that one is passed on"

NOT_SERVED = {
    "chat-reasoning-summary": NO_REASONING,
    "reasoning-summary": NO_REASONING,
    "compact-response": NO_COMPACTION,
    "compact-missing-model": NO_COMPACTION,
}
BEYOND_THE_MODEL = {
    "chat-image-input": NO_PICTURES,
    "image-input": NO_PICTURES,
}
EXCEPTIONS = {"ticker": NOT_SERVED, "terse": NOT_SERVED | BEYOND_THE_MODEL}
"""By model: an assistant on the embedded engine, which comes to an end, and one that is a script."""


def test_every_exception_is_documented():
    rows = PAGE.read_text().splitlines()
    for id in EXCEPTIONS["terse"]:
        assert any(row.startswith("| ") and f"`{id}`" in row for row in rows), id


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("model", ["ticker", pytest.param("terse", marks=pytest.mark.soak)])
def test_applicable_llm_comply_suites_pass(whole, model, suite, subtests):
    program = environment.locked_environment("comply") / "bin" / "llm-comply"
    done = subprocess.run(
        [program, "--json", "--format", suite, "--base-url", f"{whole.url}/v1", "--model", model],
        env={**os.environ, "OPENRESPONSES_API_KEY": whole.key},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SUITE_S,
    )
    assert done.returncode in (0, 1), done.stderr
    results = json.loads(done.stdout)["results"]
    assert results
    for result in results:
        with subtests.test(result["id"]):
            problems = result.get("errors", []) + result.get("warnings", [])
            if reason := EXCEPTIONS[model].get(result["id"]):
                assert problems, f"this passes now, so it is no exception any more: {reason}"
            else:
                assert (result["status"], problems) == ("passed", [])
