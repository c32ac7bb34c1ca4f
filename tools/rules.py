"""`make rules`: promtool checks a stack's own alerts and objectives, and tries the cases of each."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from infra.alerts import rules as own_rules
from infra.cluster_config import MOUNTED_SECRETS
from infra.config_loader import load
from infra.mistakes import report
from monitoring import rules_file
from monitoring.promtest import promtest
from monitoring.rule import Alert, Group
from tools.binaries import find
from tools.plan import settings
from tools.report import ToolError, say

TIMEOUT_S = 600


def own_groups(stack: str) -> tuple[Group, ...]:
    """Returns the own rules in a stack's file. Raises `ToolError` when its settings have mistakes."""
    raw = settings(stack)
    loaded = load(raw, frozenset(raw), MOUNTED_SECRETS)
    if loaded.mistakes:
        raise ToolError(report(loaded.mistakes))
    return own_rules.groups(loaded.config.alerts, loaded.config.objectives)


def check(groups: Sequence[Group], folder: Path) -> None:
    """Has promtool read the rules, and try both cases of each alert. Raises `ToolError` with what it says."""
    (folder / "rules.yaml").write_text(rules_file.text(groups))
    (folder / "tests.yaml").write_text(yaml.safe_dump(promtest(groups), sort_keys=False))
    program = find.ensure(["promtool"])["promtool"]
    for arguments in (("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"), ("test", "rules", "tests.yaml")):
        done = subprocess.run(
            [program, *arguments], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            raise ToolError(f"promtool {' '.join(arguments[:2])}: {done.stdout}{done.stderr}".strip())


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the rules of a stack and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.rules", description=__doc__)
    parser.add_argument("--stack", default=os.environ.get("STACK", "local"))
    try:
        stack = parser.parse_args(argv).stack
        groups = own_groups(stack)
        if groups:
            with TemporaryDirectory() as folder:
                check(groups, Path(folder))
    except ToolError as e:
        say(f"error: {e}")
        return 1
    alerts = sum(isinstance(rule, Alert) for group in groups for rule in group.rules)
    print(f"{alerts} alerts of the stack {stack} fire when they should and not else")
    return 0


if __name__ == "__main__":
    sys.exit(main())
