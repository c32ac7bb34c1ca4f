"""promtool over rules: what it says of their files."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import yaml

from monitoring import rules_file
from monitoring.rule import Sample
from tools.binaries import find

LABELS = re.compile(r'\w+="[^"]*"')


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs promtool in a folder, whatever it says."""
    program = find.ensure(["promtool"])["promtool"]
    environment = {**os.environ, "GOGC": "400"}  # it has little time to live, and the host has memory
    command = [program, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def content(folder: Path, *arguments: str) -> str:
    """Runs promtool, which must be content; returns what it says."""
    done = run(folder, *arguments)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def check(folder: Path, groups):
    file = folder / "rules.yaml"
    file.write_text(rules_file.text(groups))
    content(folder, "check", "rules", "--lint=all", "--lint-fatal", file.name)
    return file


def ask(asked, samples, interval):
    """A test of promtool's: what an expression gives."""
    series = [{"series": sample.series, "values": sample.values} for sample in samples]
    return {"interval": interval, "input_series": series, "promql_expr_test": [asked]}


def within(namespace, samples):
    """The same series, of the stack in a namespace."""
    for sample in samples:
        name, _, labels = sample.series.partition("{")
        others = [one for one in LABELS.findall(labels) if not one.startswith("namespace=")]
        placed = ",".join((*others, f'namespace="{namespace}"'))
        yield Sample(f"{name}{{{placed}}}", sample.values)


def count(alert, after, samples, firing, interval):
    """A test of promtool's: how many of an alert fire."""
    asked = {
        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
        "eval_time": after,
        "exp_samples": [{"labels": "{}", "value": firing}],
    }
    return ask(asked, samples, interval)


def judge(folder: Path, groups, tests, evaluation_interval):
    """Runs promtool's tests over the rules of `groups`."""
    file = folder / "tests.yaml"
    plan = {"rule_files": [str(check(folder, groups))], "evaluation_interval": evaluation_interval, "tests": tests}
    file.write_text(yaml.safe_dump(plan, sort_keys=False, width=10_000))
    content(folder, "test", "rules", file.name)
