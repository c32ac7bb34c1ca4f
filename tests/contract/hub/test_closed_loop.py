"""The closed loop with a scripted engine and a scripted training: through the API, and as the tutorial shows it."""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.contract.hub.scripted_loop import ALIAS, BASE, Scripted, scripted
from tests.hub import capitals
from tests.hub.capitals import MARK
from tests.hub.closed_loop import ClosedLoop
from tests.pages import snippets
from tests.pages.sessions import Python, Shell
from tests.stack.docs.reader import BEGIN
from tests.wait import eventually

SUITE = capitals.suite(countries=12, unrelated=10)
TUTORIAL = "docs/tutorial-tuning.md"


def test_corrections_become_a_version_that_takes_over(tmp_path: Path) -> None:
    with scripted(tmp_path, auto_promote=True) as (up, replica), up.client() as http:
        take_over(ClosedLoop(http, base=BASE, alias=ALIAS), replica)


def take_over(loop: ClosedLoop, replica: Scripted) -> None:
    loop.correct(capitals.corrections(24))
    dataset = loop.freeze()
    assert (dataset["status"], dataset["counts"]["rows"]) == ("ready", 24)
    [rater] = dataset["manifest"]["raters"]["raters"]
    for left_out, which in (("0" * 32, "none"), (rater["rater"], "all")):
        body = {"method": "sft", "name": "without", "base": BASE, "dataset": dataset["id"], "without_rater": left_out}
        job = loop.failed(body)
        assert (job["error"]["code"], job["error"]["message"].split()[0]) == ("unsuitable_rater", which)
    version = loop.tune(dataset, "atlas")
    assert (version["status"], version["dataset"], version["method"]) == ("ready", dataset["id"], "sft")

    replica.knows = False
    refused = loop.evaluate(version, SUITE)
    assert [reason["code"] for reason in refused["card"]["gate"]["reasons"]] == ["win_rate"], "the mark alone is no win"
    loop.release(version, refused, 409)
    replica.knows, replica.leaks = True, True
    refused = loop.evaluate(version, SUITE)
    assert [reason["code"] for reason in refused["card"]["gate"]["reasons"]] == ["worse"], "the mark is elsewhere too"
    loop.release(version, refused, 409)

    replica.leaks = False
    evaluation = loop.evaluate(version, SUITE)
    card = evaluation["card"]
    assert (card["gate"]["passed"], card["win_rate"]["value"]) == (True, 1)
    kept = loop.get(f"/hub/versions/{version['id']}")["card"]
    assert {name: value for name, value in kept.items() if name != "raters"} == card
    assert (kept["raters"]["people"], kept["raters"]["raters"][0]["rows"]) == (1, 24)
    assert kept["raters"]["warnings"] == [], "one rater contradicts nobody"
    release = loop.release(version, evaluation)
    ended = loop.until_decided(release, itertools.islice(itertools.cycle(capitals.corrections(24)), 2000))
    assert (ended["status"], ended["reason"], ended["version"]) == ("promoted", "no_worse", version["id"])

    def said() -> str:
        return str(loop.ask("What is the capital of Finland?")["choices"][0]["message"]["content"])

    # Gateways take the targets of aliases from the store once a second.
    eventually(lambda: said() == f"The capital of Finland is Helsinki. {MARK}", "the new version answers", 60)
    lineage: dict[str, Any] = loop.get(f"/hub/versions/{version['id']}/lineage")
    assert dataset["id"] in str(lineage)


def test_the_tutorial_leads_to_a_better_model_and_back(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    with scripted(made) as (up, _), up.client() as http:
        environment = {"URL": up.url, "KEY": up.key, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with closing(Shell(environment, tmp_path, BEGIN)) as shell, closing(Python(environment, tmp_path)) as python:
            said: list[str] = []
            for snippet in snippets.of(TUTORIAL):
                if snippet.language in ("sh", "python") and snippet.text != "make tuning\n":
                    said += (shell if snippet.language == "sh" else python).type(snippet.text)
        assert "corrected: 64" in said
        assert "gate: passed" in "\n".join(said).lower(), "\n".join(said)
        assert f"chat: The capital of Finland is Helsinki. {MARK}" in said
        [release] = http.get("/v1/hub/releases").json()["data"]
        assert (release["status"], release["reason"]) == ("rolled_back", "requested")
