"""The page on capacity has its figures from the benchmarks, shows what `make plan` prints, and names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from monitoring.alerts import GROUPS
from monitoring.autoscaling import autoscaling_target
from monitoring.known_series import KNOWN
from monitoring.objectives import OBJECTIVES
from tools.plan import plan

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/how-to/plan-capacity.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
FIGURE = re.compile(r"\b\d{1,3}(?:,\d{3})*\.\d+\b|\b\d{1,3}(?:,\d{3})+\b")
"""A number with a fraction, or one of thousands."""


def test_figures_match_the_benchmarks() -> None:
    lines = [line for line in PAGE.splitlines() if "benchmarks.md#" in line or "`python -m bench " in line]
    figures = [figure for line in lines for figure in FIGURE.findall(line)]
    assert len(figures) > 12
    assert [figure for figure in figures if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", BENCHMARKS)] == []


def test_benchmarks_that_it_names_are_on_their_page() -> None:
    named = set(re.findall(r"`(python -m bench [a-z ]+)`", PAGE))
    assert len(named) > 3
    assert [command for command in named if command not in BENCHMARKS] == []


def test_the_shown_plan_matches_make_plan() -> None:
    shown = next(block for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S) if block.startswith("Model"))
    assert plan("gcp").endswith(shown.rstrip("\n"))


def test_the_autoscaling_target_matches_the_command() -> None:
    given = re.search(r"--slots (\d+) --service-seconds ([\d.]+) --unloaded-seconds ([\d.]+)", PAGE)
    assert given
    slots, service, unloaded = given.groups()
    objective = next(one for one in OBJECTIVES if one.name == "time_to_first_token")
    target = autoscaling_target(objective, slots=int(slots), service_s=float(service), unloaded_s=float(unloaded))
    assert f"{service} seconds and a target of {target:.2g}, a model needs {2 * float(service) / target:.1f}" in PAGE
    assert f"target_ongoing_requests: {target:.2g}" in PAGE


def test_named_metrics_and_alerts_exist() -> None:
    rows = [line for line in PAGE.partition("## 10.")[2].splitlines() if line.startswith("| ")][1:]
    cells = [line.split("|") for line in rows if not line.startswith("| ---")]
    metrics = {metric for row in cells for metric in re.findall(r"`([a-z_:0-9]+)", row[2])}
    alerts = {alert for row in cells for alert in re.findall(r"`(\w+)`", row[3])}
    assert len(metrics) > 12
    assert [name for name in metrics if not {name, f"{name}_bucket"} & KNOWN.keys()] == []
    assert alerts - {rule.name for group in GROUPS for rule in group.rules} == set()
    assert len(alerts) > 12
