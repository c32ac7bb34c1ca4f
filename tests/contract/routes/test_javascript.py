"""OpenAI's SDK for JavaScript drives every route, and the samples of the AI SDK run: Node runs both."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.callers.routes import not_asked
from tests.npm import node

pytestmark = pytest.mark.long

SOURCE = Path(__file__).with_name("javascript")
PROGRAMS = ("tour.test.js", "samples.test.js")
TOUR_S = 800


@dataclass(frozen=True)
class Toured:
    """What one run of the programs gave: the failure (or None) of each of its tests, and its requests."""

    tests: dict[str, str | None]
    requests: list[tuple[str, str]]  # method and path


@pytest.fixture(scope="module")
def toured(whole, tmp_path_factory):
    program, installed = node.program("node"), node.packages(SOURCE)
    folder = tmp_path_factory.mktemp("javascript")
    for name in (*PROGRAMS, "package.json"):
        shutil.copy(SOURCE / name, folder)
    (folder / "node_modules").symlink_to(installed / "node_modules")
    told = {"HEADRACE_URL": whole.url, "HEADRACE_KEY": whole.key, "HEADRACE_ASKED": str(folder / "asked")}
    told |= {"OPENAI_BASE_URL": f"{whole.url}/v1", "OPENAI_API_KEY": whole.key, "PROVIDER_API_KEY": whole.key}
    done = subprocess.run(
        [program, "--test", "--test-reporter=junit", *PROGRAMS],
        cwd=folder,
        env={**os.environ, **told},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TOUR_S,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    cases = list(ElementTree.fromstring(done.stdout).iter("testcase"))
    failures = {case.get("name"): case.findtext("failure") for case in cases}
    assert len(failures) == len(cases) > 1, "a test's name stands twice, or the program ended before its tests"
    assert done.returncode == any(failures.values()), done.stdout + done.stderr
    asked = [line.split(" ", 1) for line in (folder / "asked").read_text().splitlines()]
    return Toured(failures, [(method, path) for method, path in asked])


def test_each_program_passes(toured, subtests):
    for name, failure in toured.tests.items():
        with subtests.test(name):
            assert failure is None, failure


def test_the_tour_drives_every_route(toured):
    assert not_asked(toured.requests) == []
