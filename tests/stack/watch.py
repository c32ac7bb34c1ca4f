"""A second Prometheus over a running local stack: the same targets and rules, on a faster clock.

It reads the targets out of the configuration of the stack's own Prometheus, so it sees what that one sees.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable

import httpx
import yaml

from monitoring.rules_file import document
from tests.monitoring import scaled_rules
from tests.servers.process import Server
from tests.stacks.monitored import ask
from tests.stacks.stack import Stack
from tests.wait import eventually
from tools.binaries import find

SCALE = 120
"""An hour is half a minute, and windows of 40 minutes and less are 20 s (see `monitoring.burn_rate.FEWEST_S`)."""
EVERY_S = 3
"""Seconds between two scrapes, and how long one may take."""
WITHIN_S = 90
"""How long an alert may take: its window, its wait, and Ray, which tells news every 10 s."""


class Watch(Server):
    """Prometheus with `tests.monitoring.scaled_rules`'s rules; `close` ends it."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._theirs = stack.layout.state / "prometheus.yml"
        self._settings = self.folder / "prometheus.yml"
        self.port = self._port()
        (self.folder / "rules.yaml").write_text(json.dumps(document(scaled_rules.scaled_groups(SCALE))))
        self.refresh()
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(
            [
                str(find.bin_dir(["prometheus"]) / "prometheus"),
                f"--config.file={self._settings}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
        )
        self._ready([self.port])
        eventually(
            lambda: httpx.get(f"{self.url}/-/ready", timeout=30).status_code == 200, "Prometheus is ready", WITHIN_S
        )
        eventually(lambda: self.values("min(up) == 1 and count(up) >= 3"), "a scrape of every target", WITHIN_S)

    def refresh(self) -> None:
        """Reads the stack's targets again: a restarted Ray has other ports."""
        theirs = yaml.safe_load(self._theirs.read_text())
        every = f"{EVERY_S}s"
        ours = yaml.safe_dump(
            {
                "global": {"scrape_interval": every, "evaluation_interval": every},
                "rule_files": ["rules.yaml"],
                "scrape_configs": theirs["scrape_configs"],
            }
        )
        if self._settings.exists() and self._settings.read_text() == ours:
            return
        self._settings.write_text(ours)
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def values(self, expression: str) -> list[float]:
        """Returns the values of an instant query."""
        return [sample.values[-1] for sample in ask(self.url, expression)]

    def broken(self) -> list[str]:
        """Returns the errors of rules that cannot be evaluated."""
        groups = httpx.get(f"{self.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        rules = (rule for group in groups for rule in group["rules"])
        return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] == "err"]

    def fired(self, since: float) -> set[str]:
        """Returns the alerts that fired after `since`, a time of `time.time()`."""
        past = max(1, round(time.time() - since))
        firing = ask(self.url, f'count by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{past}s]))')
        return {sample.labels["alertname"] for sample in firing}

    def quiet(self, alerts: Iterable[str]) -> None:
        """Waits until none of `alerts` fires, so that an alert of an earlier fault is not counted for another one."""
        names = "|".join(alerts)

        def none() -> bool:
            self.refresh()
            return not self.values(f'ALERTS{{alertname=~"{names}",alertstate="firing"}}')

        eventually(none, f"none of {names} fires", WITHIN_S)

    def fire(self, alerts: Iterable[str], since: float, seconds: float = WITHIN_S) -> None:
        """Waits until each of `alerts` has fired after `since`, which is before the fault."""
        wanted = set(alerts)
        until = time.monotonic() + seconds
        while (left := wanted - self.fired(since)) and time.monotonic() < until:
            self.refresh()
            time.sleep(0.5)
        assert not left, f"not within {seconds:g} s: {', '.join(sorted(left))}; fired: {sorted(self.fired(since))}"
