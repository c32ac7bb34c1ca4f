"""What is written: for programs beside the chart, and for the chart."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from monitoring import console_files, groups, output_files
from monitoring.__main__ import main
from monitoring.console_files import CONSOLE
from monitoring.dashboards import DASHBOARDS

ROOT = Path(__file__).parents[3]
files = cache(output_files.output_files)


def run(*arguments, seed="0"):
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "monitoring", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_the_charts_files_are_up_to_date():
    """Otherwise run `python -m monitoring --chart`."""
    assert output_files.stored_chart_files() == output_files.chart_files()


def test_the_consoles_files_are_up_to_date():
    """Otherwise run `python -m monitoring --chart`."""
    assert {path.name: path.read_text() for path in CONSOLE.iterdir()} == output_files.console_texts()


def test_the_chart_stays_small():
    """A release of Helm is a Secret, which holds a mebibyte of the whole chart, compressed."""
    made = output_files.chart_files()
    assert sum(len(text) for path, text in made.items() if path.startswith("dashboards/")) < 340_000
    assert len(gzip.compress("".join(made.values()).encode())) < 150_000


def test_files_of_one_stack_have_its_namespace_and_are_the_charts_else(tmp_path):
    assert main([str(tmp_path), "--namespace", "blue"]) == 0
    charts = output_files.chart_files()
    for name in groups.RULES:
        text = (tmp_path / "rules" / f"{name}.yaml").read_text()
        assert yaml.load(text, yaml.CSafeLoader) == yaml.safe_load(
            re.sub(r"\n *(runbook|dashboard)_url: .*", "", charts[f"rules/{name}.yaml"])
            .replace("HEADRACE_NAMESPACE", "blue")
            .replace("HEADRACE_ENGINES", "blue|")
        )
        found = yaml.safe_load((tmp_path / "kubernetes" / f"rules-{name}.yaml").read_text())
        assert (found["metadata"]["namespace"], found["spec"]) == ("blue", yaml.load(text, yaml.CSafeLoader))


def test_addresses_are_in_every_file_that_links(tmp_path):
    runbooks, grafana = "https://git.example.com/runbooks", "https://grafana.example.com/"
    assert main([str(tmp_path), "--runbooks", runbooks, "--grafana", grafana]) == 0
    rules = yaml.load((tmp_path / "rules" / "alerts.yaml").read_text(), yaml.CSafeLoader)
    annotations = [rule["annotations"] for group in rules["groups"] for rule in group["rules"]]
    assert all(one["runbook_url"].startswith(f"{runbooks}/") for one in annotations)
    assert all(one["dashboard_url"].startswith("https://grafana.example.com/d/headrace-") for one in annotations)
    for folder in ("dashboards", "perses"):
        assert f"{runbooks}/GcsDown.md" in (tmp_path / folder / "ray.json").read_text()


def test_another_process_writes_the_same(tmp_path):
    result = run(tmp_path / "new" / "out", seed="1")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    found = [file for file in (tmp_path / "new" / "out").rglob("*") if file.is_file()]
    assert {str(f.relative_to(tmp_path / "new" / "out")): f.read_text() for f in found} == files()


def test_each_program_gets_each_dashboard():
    names = {dashboard.name for dashboard in DASHBOARDS}
    for folder, others in (("dashboards", {"log"}), ("perses", set())):  # Loki's lines are Grafana's alone
        assert {Path(f).stem for f in files() if f.startswith(folder) and f.endswith("json")} == names | others
    names |= {"log"}
    assert {f"kubernetes/dashboard-{name}.yaml" for name in names} < files().keys()
    uids = {json.loads(files()[f"dashboards/{name}.json"])["uid"] for name in names}
    assert uids == {f"headrace-{name}" for name in names}
    assert all(len(uid) <= 40 for uid in uids)


@pytest.mark.parametrize("name", groups.RULES)
def test_objects_for_kubernetes_hold_the_same_rules(name):
    given = yaml.load(files()[f"kubernetes/rules-{name}.yaml"], yaml.CSafeLoader)
    assert given["kind"] == "PrometheusRule"
    assert given["spec"] == yaml.load(files()[f"rules/{name}.yaml"], yaml.CSafeLoader)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_objects_for_kubernetes_hold_the_same_dashboards(dashboard):
    given = yaml.load(files()[f"kubernetes/dashboard-{dashboard.name}.yaml"], yaml.CSafeLoader)
    assert given["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert given["data"] == {f"{dashboard.name}.json": files()[f"dashboards/{dashboard.name}.json"]}


def test_exceptions_are_in_the_folder_of_the_dashboards():
    exclusions = yaml.load(files()["dashboards/.lint"], yaml.CSafeLoader)["exclusions"]
    assert exclusions.keys() == {"target-job-rule", "target-instance-rule"}
    titles = {panel.title for dashboard in DASHBOARDS for panel in dashboard.panels}
    assert all(entry["panel"] in titles for rule in exclusions.values() for entry in rule["entries"])
    assert all(rule["reason"] for rule in exclusions.values())


def test_obsolete_files_are_removed_from_the_chart(tmp_path, monkeypatch):
    monkeypatch.setattr(output_files, "CHART", tmp_path)
    monkeypatch.setattr(console_files, "CONSOLE", tmp_path / "console")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "old.yaml").touch()
    (tmp_path / "drain.sh").touch()
    assert main(["--chart"]) == 0
    assert output_files.stored_chart_files() == output_files.chart_files()
    assert (tmp_path / "drain.sh").exists()
    assert {path.name for path in (tmp_path / "console").iterdir()} == output_files.console_texts().keys()


def test_an_unwritable_folder_is_reported(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.endswith("file/alertmanager: Not a directory: name a writable folder\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments OUT --chart is required"),
        (["out", "--chart"], "not allowed with argument"),
        (["out", "--runbooks", "runbooks"], "'runbooks' is not an absolute URL"),
        (["--chart", "--grafana", "https://grafana.example.com"], "whose values have them"),
        (["--chart", "--namespace", "blue"], "argument --namespace: not allowed with argument --chart"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
