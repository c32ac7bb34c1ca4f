"""Alerts fire when they should and not before, and whoever is woken finds a page that helps."""

import importlib.util
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import click
import pytest
import yaml

from infra.addons.monitoring import RELEASE
from monitoring import rules_file as rules
from monitoring.alerts import GROUPS
from monitoring.alerts.case import alert_case
from monitoring.dashboards import DASHBOARDS
from monitoring.expression import mistakes
from monitoring.promtest import promtest
from serving.cli.__main__ import headrace
from tests.contract.monitoring import promtool
from tests.contract.monitoring.test_scope import shared
from tools import docs

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "monitoring" / "runbooks"
ALERTS = {alert.name: alert for group in GROUPS for alert in group.rules}
OBJECTIVES = re.compile(r"Budget(Slow)?Burn$")  # their pages are test_objectives' business
PAGES = {p.stem: p.read_text() for p in sorted(RUNBOOKS.glob("*.md")) if not OBJECTIVES.search(p.stem)}
DAY = (ROOT / "docs" / "how-to" / "operate.md").read_text()
"""The page that goes through a day with a stack, which leads to runbooks."""
SECTIONS = ["What it means", "Likely causes", "Commands", "What to do", "How to verify recovery"]
NAMES = {dashboard.name for dashboard in DASHBOARDS}
KUBECTL = {
    *("apply", "cordon", "create", "debug", "delete", "describe", "drain", "exec", "get", "logs", "patch", "top"),
    *("port-forward", "uncordon"),
}


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def shell(text):
    return [line for block in blocks(text, "sh") for line in block.splitlines()]


def section(text, title):
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0].strip()


def test_names_are_used_once():
    assert len(ALERTS) == sum(len(group.rules) for group in GROUPS) >= 40
    assert len({group.name for group in GROUPS}) == len(GROUPS)


def test_rules_and_runbook_queries_are_valid(tmp_path):
    queries = [line for text in PAGES.values() for block in blocks(text, "promql") for line in block.splitlines()]
    assert len(queries) > len(PAGES)
    asked = [{"record": f"runbook:query:{i}", "expr": query} for i, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules.document(GROUPS)))
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": asked}]}))
    assert f"{len(ALERTS)} rules found" in promtool.content(tmp_path, "check", "rules", "rules.yaml", "queries.yaml")


def test_each_alert_fires_when_it_should_and_not_before(tmp_path):
    """Those of GPUs; test_scope tries those of stacks in the same way, of two stacks at once.

    Each has its own rule file: every test evaluates all rules of its file at every step.
    """
    tests = []
    for group in GROUPS:
        for alert in filter(shared, group.rules):
            alone = [replace(group, rules=(alert,))]
            (tmp_path / f"{alert.name}.yaml").write_text(yaml.safe_dump(rules.document(alone)))
            test = tmp_path / f"{alert.name}.test.yaml"
            test.write_text(yaml.safe_dump(promtest(alone, f"{alert.name}.yaml")))
            tests.append(test.name)
    promtool.content(tmp_path, "test", "rules", *tests)


def test_promtool_refuses_a_case_that_is_wrong(tmp_path):
    """What the test above relies on: the silent case of an alert does not fire, and does not pass as one that does."""
    (group,) = (group for group in GROUPS if group.name == "alerts-engines")
    alert = ALERTS["ModelLoadSlow"]
    wrong = [replace(group, rules=(replace(alert, fires=alert.silent, silent=alert.fires),))]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules.document(wrong)))
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(promtest(wrong, "rules.yaml")))
    result = promtool.run(tmp_path, "test", "rules", "test.yaml")
    assert result.returncode != 0
    assert (result.stdout + result.stderr).count("exp:") == 2


def test_samples_are_a_minute_apart():
    case = alert_case("5m", ("a", "1+0.5x2"), ("b", "3-1x1 _x2 stale 7"))
    assert [(s.series, s.values) for s in case.samples] == [
        ("a", "1.0 _ 1.5 _ 2.0"),
        ("b", "3 _ 2 _ _ _ _ _ stale _ 7"),
    ]
    with pytest.raises(ValueError, match="1to3 is not in promtool"):
        alert_case("5m", ("a", "1to3"))


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_alerts_have_an_owner_and_a_dashboard(alert):
    assert re.fullmatch(r"([A-Z][a-zA-Z]+)", alert.name)
    assert alert.dashboard in NAMES
    assert "\n" not in alert.summary
    assert not alert.summary.endswith(".")
    assert alert.fires.samples
    assert any(re.search(r"[1-9]", sample.values) for sample in alert.silent.samples)


def test_silent_cases_contain_the_alerts_metrics():
    """A case without them would be silent for another reason than its values."""
    for alert in ALERTS.values():
        names = {sample.series.partition("{")[0] for sample in alert.silent.samples}
        used = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.sub(r"\{[^}]*\}", "", alert.expression)))
        assert names & used, alert.name


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    assert PAGES.keys() == ALERTS.keys()


@pytest.mark.parametrize("name", PAGES)
def test_a_runbook_has_its_sections(name):
    text = PAGES[name]
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert all(section(text, title) for title in SECTIONS)
    causes = section(text, "Likely causes").splitlines()
    assert [cause.partition(".")[0] for cause in causes] == [str(i + 1) for i in range(len(causes))]
    commands = section(text, "Commands")
    assert blocks(commands, "sh") or blocks(commands, "promql")


def test_the_operations_guide_is_valid():
    wanted = ["Deploy", "Watch", "Respond to a page", "Find the cause", "Fix", "Write it down"]
    assert [title for title in re.findall(r"^## (.+)$", DAY, re.MULTILINE) if title in wanted] == wanted
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z][A-Za-z]+)`", DAY))
    assert len(named) > 10
    assert named <= ALERTS.keys()
    dashboards = re.findall(r"[Dd]ashboards? `(\w+)`(?: and `(\w+)`)?", DAY)
    assert {name for pair in dashboards for name in pair if name} <= NAMES
    assert len(dashboards) >= 3
    inline = re.findall(r"`([a-z_]+\([^`]+\))`", DAY)
    queries = [*inline, *(re.sub(r"\s+", " ", block) for block in re.findall(r"```promql\n(.*?)```", DAY, re.DOTALL))]
    assert len(queries) >= 3
    assert {query: found for query in queries if (found := mistakes(query.strip()))} == {}
    assert re.findall(r"svc/([\w-]+)", DAY) == [f"{RELEASE}-prometheus"]
    routed = re.findall(r"'(\w+)=\"(\w+)\"'", DAY)
    assert len(routed) >= 3
    assert set(routed) <= {(label, getattr(a, label)) for a in ALERTS.values() for label in ("severity", "owner")}


def test_runbooks_differ():
    for title in SECTIONS:
        bodies = [section(text, title) for text in PAGES.values()]
        assert len(set(bodies)) == len(bodies), title
    causes = [cause[3:] for text in PAGES.values() for cause in section(text, "Likely causes").splitlines()]
    assert len(set(causes)) > 0.95 * len(causes)


@pytest.mark.parametrize("text", [*PAGES.values(), DAY], ids=[*PAGES, "operate"])
def test_the_commands_of_a_runbook_exist(text):
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for verb in re.findall(r"(?:^|`)make (?:-s )?([a-z-]+)", text, re.MULTILINE):
        assert verb in verbs, verb
    for line in [*shell(text), *re.findall(r"`(headrace [^`]+)`", text)]:
        words = shlex.split(line, comments=True)
        if words and Path(words[0]).name == "headrace":
            parsed(words[1:])
        if "pytest" in words:
            assert all((ROOT / word).exists() for word in words if "/" in word and not word.startswith(".venv/")), line
    for words in re.findall(r"\bkubectl ((?:-n [a-z-]+ )?[a-z-]+)", text):
        assert words.split()[-1] in KUBECTL, words
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(module), module
    settings = {key.partition(":")[2] for key in docs.settings()}
    for setting in re.findall(r"`headrace:(\w+)", text):
        assert setting in settings, setting


EVERY_PAGE = {p.stem: p.read_text() for p in sorted(RUNBOOKS.glob("*.md"))}


def test_host_commands_find_rays_logs(tmp_path):
    """They run as written on a host with a stack: Ray's folder is inside the stack's temporary one."""
    session = tmp_path / "headrace-0a1b2c3d" / "ray" / "session_latest" / "logs" / "serve"
    session.mkdir(parents=True)
    for name in ("controller_1", "headrace_headrace_Gateway_a", "headrace_model-smollm2_smollm2_b"):
        (session / f"{name}.log").write_text("ERROR opentelemetry internal_error\n")
    lines = [line for text in EVERY_PAGE.values() for line in shell(text) if "/tmp/headrace-" in line]
    assert len(lines) >= 5
    for line in lines:
        here = line.replace("/tmp/headrace-", f"{tmp_path}/headrace-")
        done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=60)
        assert (done.stderr, "internal_error" in done.stdout) == ("", True), line


def test_host_commands_do_not_need_the_environment_to_be_active():
    for name, text in EVERY_PAGE.items():
        for line in shell(text):
            assert not re.match(r"python3? ", line), (name, line)


def parsed(words):
    """Raises what the command itself would say of wrong arguments; runs nothing."""
    command = headrace
    while isinstance(command, click.Group):
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
    asks = any("--yes" in option.opts for option in command.params)
    command.make_context(command.name, [*words, *(["--yes"] if asks else [])])


@pytest.mark.parametrize("name", PAGES)
def test_runbook_links_are_valid(name):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        target, _, anchor = link.partition("#")
        file = (RUNBOOKS / target).resolve()
        assert file.is_file(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, link
