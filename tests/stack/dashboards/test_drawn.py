"""Every panel of every dashboard is drawn in the console, in a real browser, from a real Prometheus with a past."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from monitoring.dashboards import DASHBOARDS
from serving.api.routes.admin import dashboards as route
from serving.telemetry.dashboards.board import dashboards
from tests.contract.page.console.operated import Operated
from tests.servers.browser import Chromium
from tests.servers.process import Server
from tests.stack.dashboards.drawn import NAMES, TITLES, console, dashboard, faults
from tests.stack.dashboards.past import BLOCK_S, SLOWEST_S, Past, beginning, past

GIVEN = {each.name: [panel.title for panel in each.panels] for each in DASHBOARDS}
LEGENDS = "[...document.querySelectorAll('.legend button')].map((button) => button.textContent).join()"


@pytest.fixture(scope="module")
def operated() -> Iterator[Operated]:
    browser = Chromium()
    with past() as prometheus, console(prometheus.url, browser) as made:
        yield made
    browser.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_is_drawn(operated: Operated, name: str) -> None:
    with dashboard(operated, name) as shown:
        assert shown.page.evaluate(TITLES) == GIVEN[name]
        assert faults(shown) == []


def test_a_panel_that_fails_is_found(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that `faults` detects failures; the test of all dashboards relies on it."""
    given = dashboards()["tenants"]
    first, second, *others = given.rows[0].panels
    expressions = ('label_replace(up, "a", "b", "job", "(")', "vector(1) > 2")
    broken = [
        replace(panel, targets=tuple(replace(target, expression=expression) for target in panel.targets))
        for panel, expression in zip((first, second), expressions, strict=True)
    ]
    changed = replace(given, rows=(replace(given.rows[0], panels=(*broken, *others)), *given.rows[1:]))
    monkeypatch.setattr(route, "dashboards", lambda: {**dashboards(), "tenants": changed})
    with dashboard(operated, "tenants") as shown:
        found = faults(shown)
        shown.page.evaluate("document.querySelectorAll('.metric .line > path').forEach((one) => one.remove())")
        undrawn = faults(shown)
    assert found[0].startswith(f"{first.title}: ")
    assert "invalid regular expression" in found[0]
    assert found[1].startswith(f"{second.title}: ")
    assert len(found) == 2
    assert any(fault.endswith(": nothing is drawn") for fault in undrawn)


def test_a_filter_changes_the_data(operated: Operated) -> None:
    with dashboard(operated, "models") as shown:
        legends = shown.page.evaluate(LEGENDS)
        assert "smollm2" in legends
        assert "qwen3-8b" in legends
    with dashboard(operated, "models", "&filter[model]=smollm2") as shown:
        legends = shown.page.evaluate(LEGENDS)
        assert "smollm2" in legends
        assert "qwen3-8b" not in legends


def test_every_rule_has_historical_data() -> None:
    """The day has a time of each kind: the past may begin anywhere in a block."""
    for now in range(0, BLOCK_S, 30):
        assert BLOCK_S - beginning(now) % BLOCK_S > SLOWEST_S


@pytest.mark.parametrize("start", [Past, Chromium])
def test_a_failed_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch, start: type[Server]) -> None:
    begun: list[Server] = []

    def fail(server: Server, *_: object) -> None:
        begun.append(server)
        raise KeyboardInterrupt

    monkeypatch.setattr(Past, "_blocks", lambda *_: None)
    monkeypatch.setattr(Server, "_ready", fail)
    monkeypatch.setattr(Chromium, "_address", fail)
    with pytest.raises(KeyboardInterrupt):
        start()
    [server] = begun
    assert server.process is not None
    assert server.process.poll() is not None
    assert not server.folder.exists()
