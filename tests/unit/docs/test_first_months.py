"""What the pages of the first month of a cloud say: few commands, the plan's own prices, and tests that exist."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from infra.nodes.machines import CLOUDS
from tests.pages import snippets
from tests.pages.snippets import ROOT
from tools.plan import plan

COMMANDS = 8
"""Most that the first hour may take."""

_TEST = re.compile(r"`(tests/[\w/]+\.py)`: `(test_\w+)`")


def page(cloud: str) -> str:
    return f"docs/how-to/{cloud}-first-month.md"


def text(cloud: str) -> str:
    return (ROOT / page(cloud)).read_text()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_first_hour_takes_few_commands_each_with_what_it_prints_and_how_long_it_takes(cloud: str) -> None:
    hour = text(cloud).partition("## The first hour")[2].partition("## The first month")[0]
    steps = re.split(r"^### \d+\. ", hour, flags=re.MULTILINE)[1:]
    assert 6 <= len(steps) <= COMMANDS
    assert f"in {len(steps)} commands" in text(cloud)
    for step in steps:
        fences = re.findall(r"^```(\w+)$", step, re.MULTILINE)
        assert fences == ["sh", "text"], step
        assert "\nTakes " in step, step


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_month_has_the_same_events(cloud: str) -> None:
    month = text(cloud).partition("## The first month")[2]
    assert re.findall(r"^### (.+)$", month, re.MULTILINE) == [
        "Upgrade the nodes",
        "Upgrade Kubernetes",
        "Upgrade Headrace",
        "Lose a spot node",
        "Rotate a secret",
        "Restore",
    ]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_plan_is_what_plan_prints(cloud: str) -> None:
    planned = plan(cloud)
    shown = [one.text.strip() for one in snippets.of(page(cloud)) if one.language == "text"]
    [table] = [one for one in shown if one.startswith("node pool")]
    [upgrade] = [one for one in shown if one.startswith("An upgrade of pods")]
    assert table in planned
    assert planned.endswith(upgrade)
    [price] = re.findall(r"^Total: (\S+) USD per hour", table, re.MULTILINE)
    assert f"From here on the nodes cost {price} USD per hour" in text(cloud)
    [waits] = re.findall(r'the time in the plan \("(.+)"\)', text(cloud))
    assert waits in planned


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_tests_that_it_names_exist(cloud: str) -> None:
    named = _TEST.findall(text(cloud))
    assert len(named) == 6
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), name


def test_verbs_and_modules_in_shell_snippets_exist() -> None:
    """Those of all pages, the ones that no test can run among them."""
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shell = [one for each in snippets.pages() for one in snippets.of(each) if one.language == "sh"]
    used = {verb for one in shell for verb in re.findall(r"^make (?:-s )?([a-z-]+)", one.text, re.MULTILINE)}
    modules = {name for one in shell for name in re.findall(r"\.venv/bin/python -m ([\w.]+)", one.text)}
    assert len(used) > 10
    assert used - verbs == set()
    assert len(modules) > 10
    assert {name for name in modules if find_spec(name) is None} == set()
