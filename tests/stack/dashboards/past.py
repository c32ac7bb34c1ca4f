"""A real Prometheus that has a past: `History` and what all our rules make of it, as blocks."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import replace

import httpx

from monitoring.burn_rate import Clock
from monitoring.dashboards.links import selected_series
from monitoring.groups import GROUPS
from monitoring.rule import Alert, Group, Recording
from monitoring.rules_file import document
from tests.servers.process import Server
from tests.stack.dashboards.history import STEP_S, History
from tests.wait import eventually
from tools.binaries import find

PAST_S = 4200
AHEAD_S = 3600
"""Samples go on past the start, for as long as tests and pictures take on a slow machine."""
RULES_S = 60
SLOWEST_S = max(Clock().seconds(group.interval) for group in GROUPS)
"""Between two evaluations of the group that is evaluated most seldom."""
BLOCK_S = 7200
"""How long promtool's blocks are; they begin at multiples of it."""
PROMTOOL_S = 120


class Past(Server):
    """Prometheus over what was scraped and recorded; it scrapes and records nothing more."""

    def __init__(self) -> None:
        super().__init__()
        with self._closed_on_failure():
            self._make()

    def _make(self) -> None:
        now = int(time.time()) // STEP_S * STEP_S
        self._programs = find.ensure(["prometheus", "promtool"])
        self.port = self._port()
        self.url = f"http://127.0.0.1:{self.port}"
        (self.folder / "prometheus.yml").write_text("{}")
        start, end = beginning(now), now + AHEAD_S
        (self.folder / "past.txt").write_text("\n".join(History(start, end).lines()) + "\n")
        self._blocks("openmetrics", "past.txt", "data")
        self._run()
        for at, groups in enumerate(layers()):
            rules = self.folder / f"rules-{at}.yaml"
            rules.write_text(json.dumps(document(groups)))
            times = f"--start={start}", f"--end={end}", f"--eval-interval={RULES_S}s"
            self._blocks("rules", f"--url={self.url}", *times, "--output-dir=data", rules.name)
            self.kill()
            self._run()

    def _blocks(self, source: str, *arguments: str) -> None:
        command = [str(self._programs["promtool"]), "tsdb", "create-blocks-from", source, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=PROMTOOL_S)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def _run(self) -> None:
        """Starts it; it finds new blocks then."""
        files = f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data"
        # Its many blocks lie over one another; merging them would take the time of the tests.
        files += ("--no-storage.tsdb.allow-overlapping-compaction",)
        self._start([str(self._programs["prometheus"]), *files, f"--web.listen-address=127.0.0.1:{self.port}"])
        self._ready([self.port])
        with httpx.Client(trust_env=False, timeout=60) as client:
            eventually(lambda: client.get(f"{self.url}/-/ready").status_code == 200, "Prometheus is ready", 60)


def beginning(now: int) -> int:
    """When the past begins, Unix seconds.

    promtool evaluates a group at no time at all when the first one lies beyond the block that `--start` is in.
    """
    start = now - PAST_S
    return start if BLOCK_S - start % BLOCK_S > SLOWEST_S else start - SLOWEST_S


def layers() -> Iterator[list[Group]]:
    """Recording rules: those that read only what was scraped, then those that read what these record, and so on."""
    left = {rule.name for group in GROUPS for rule in group.rules if isinstance(rule, Recording)}
    while left:
        kept = [replace(group, rules=[rule for rule in group.rules if _is_next(rule, left)]) for group in GROUPS]
        layer = [group for group in kept if group.rules]
        assert layer, f"they read each other: {left}"
        yield layer
        left -= {rule.name for group in layer for rule in group.rules}


def _is_next(rule: Recording | Alert, left: Set[str]) -> bool:
    return isinstance(rule, Recording) and rule.name in left and not selected_series(rule.expression) & left


@contextmanager
def past() -> Iterator[Past]:
    """Runs it."""
    server = Past()
    try:
        yield server
    finally:
        server.close()
