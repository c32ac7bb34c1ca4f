"""The pages under `/status` in a real browser: every panel of every dashboard is drawn from a real Prometheus."""

from __future__ import annotations

import sys

import pytest

from monitoring.dashboards import DASHBOARDS
from tests.servers.browser import Chromium
from tests.servers.process import Server
from tests.stack.status.past import BLOCK_S, SLOWEST_S, Past, beginning, past
from tests.stack.status.served import LOADED, PAGES, STATES, Status, faults, focused, visit

TITLES = {f"/status/{dashboard.name}": [panel.title for panel in dashboard.panels] for dashboard in DASHBOARDS}
NARROW = 400
TAB, ENTER, LEFT = ("Tab", 9), ("Enter", 13, "\r"), ("ArrowLeft", 37)
LEGENDS = "[...document.querySelectorAll('.legend button')].map((button) => button.textContent).join()"
CHARTS = "[...document.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL()).join()"
SHADE = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
TOO_WIDE = f"""[...document.querySelectorAll("body *")].map((one) => one.getBoundingClientRect().right > {NARROW}
  ? `${{one.tagName}} of ${{one.closest(".panel")?.dataset.panel}}` : "").filter(Boolean)"""
# Stores the charts of uPlot where a test can read them.
KEEP = """
window.plots = [];
let kept;
Object.defineProperty(window, "uPlot", {
  get: () => kept,
  set: (made) => {
    kept = new Proxy(made, { construct: (of, given) => (plots.push(new of(...given)), plots.at(-1)) });
  },
});
"""
# For each visible chart: both ends of its axis, and whether their labels have dates.
AXES = """plots.filter((one) => one.root.isConnected && one.axes[0].show).map((one) => {
  const { min, max } = one.scales.x;
  return [min, max, one.axes[0].values(one, [min, max]).every((label) => label.includes("-"))];
})"""
# Responses begin and never end; `held` counts them.
HOLD = """
window.held = 0;
const real = window.fetch;
window.fetch = async (path, asked) => {
  const answer = await real(path, asked);
  answer.json = () => new Promise((_, failed) => {
    held += 1;
    asked.signal.addEventListener("abort", () => failed(asked.signal.reason));
  });
  return answer;
};
"""
NOW = "document.querySelector('#now').click()"
BROKEN = """
import sys
from dataclasses import replace
from monitoring.status import page
from monitoring.status.__main__ import main

def changed(panel, expression):
    return replace(panel, targets=[replace(target, expression=expression) for target in panel.targets])

tenants = page.BY_NAME["tenants"]
first, second, *others = tenants.rows[0].panels
panels = [changed(first, 'label_replace(up, "a", "b", "job", "(")'), changed(second, "vector(1) > 2"), *others]
page.BY_NAME["tenants"] = replace(tenants, rows=[replace(tenants.rows[0], panels=panels), *tenants.rows[1:]])
sys.exit(main())
"""


@pytest.fixture(scope="module")
def browser():
    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def prometheus():
    with past() as server:
        yield server.url


@pytest.fixture(scope="module")
def url(prometheus):
    server = Status(prometheus)
    yield server.url
    server.close()


@pytest.mark.parametrize("path", PAGES)
def test_every_panel_is_drawn(browser, url, path):
    with browser.page() as page:
        visit(page, url + path)
        titles = page.evaluate("[...document.querySelectorAll('section.panel')].map((panel) => panel.dataset.panel)")
        assert titles == TITLES[path] if path in TITLES else set(titles) <= set(TITLES["/status/overview"])
        assert faults(page) == []
        page.size(NARROW, 800)
        page.until(f"{OVERFLOW} === 0", lambda: page.evaluate(TOO_WIDE))


def test_a_panel_that_fails_is_found(browser, prometheus):
    """Proves that `faults` detects failures; the tests of all dashboards rely on it."""
    first, second = TITLES["/status/tenants"][:2]
    server = Status(prometheus, (sys.executable, "-c", BROKEN))
    try:
        with browser.page() as page:
            visit(page, f"{server.url}/status/tenants")
            found = faults(page)
            said = page.evaluate("document.querySelector('section.panel .message').textContent")
    finally:
        server.close()
    assert found[:2] == [f"{first}: error", f"{second}: empty"]
    assert [fault for fault in found[2:] if "Failed to load resource" not in fault] == []
    assert "invalid regular expression" in said


def test_errors_in_the_browser_console_are_found(browser, url):
    with browser.page() as page:
        visit(page, f"{url}/status")
        page.evaluate("void document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.2:9/x.png' }))")
        page.evaluate("void setTimeout(() => { throw new Error('torn') })")
        page.evaluate("document.querySelector('canvas').width = 1")
        found = " ".join(faults(page))
    for fault in ("Content Security Policy", "torn", "nothing is drawn"):
        assert fault in found


def test_a_selected_value_changes_the_data(browser, url):
    with browser.page() as page:
        visit(page, f"{url}/status/models")
        assert "smollm2" in page.evaluate(LEGENDS)
        assert "qwen3-8b" in page.evaluate(LEGENDS)
        page.choose("select[data-variable=model]", "smollm2")
        page.until(LOADED)
        assert "smollm2" in page.evaluate(LEGENDS)
        assert "qwen3-8b" not in page.evaluate(LEGENDS)
        assert "var-model=smollm2" in page.evaluate("location.search")


def test_a_selected_range_changes_the_data(browser, url):
    with browser.page() as page:
        visit(page, f"{url}/status")
        before = page.evaluate(CHARTS)
        page.choose("#range", "15m")
        page.until(LOADED)
        assert page.evaluate(CHARTS) != before
        assert faults(page) == []
        assert any("range=15m" in asked for asked in page.requests)


def test_an_axis_shows_the_range_and_advances(browser, url):
    with browser.page() as page:
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=KEEP)
        visit(page, f"{url}/status")
        page.choose("#range", "7d")
        page.until(LOADED)
        week = page.evaluate(AXES)
        assert {(to - start, dated) for start, to, dated in week} == {(7 * 86_400, True)}
        page.choose("#range", "15m")
        page.until(LOADED)
        before = page.evaluate(AXES)
        assert {(to - start, dated) for start, to, dated in before} == {(900, False)}
        page.evaluate(f"new Promise((done) => setTimeout(done, 1000)).then(() => {NOW})")
        later = f"{AXES}.every(([start, to]) => to > {max(to for _, to, _ in before)} && to - start === 900)"
        page.until(later, lambda: page.evaluate(AXES))
        assert len(week) == len(before) == len(page.evaluate(AXES)) > 3


def test_a_refresh_keeps_scroll_position_and_focus(browser, url):
    with browser.page(width=NARROW) as page:
        visit(page, f"{url}/status/overview")
        page.evaluate("document.querySelectorAll('details.values').forEach((one) => { one.open = true; })")
        for scroll in ("[data-kind=table] .scroll", ".values .scroll"):
            page.evaluate(f"""{{
              const scroll = document.querySelector({scroll!r});
              scroll.style.maxHeight = scroll.style.maxWidth = "60px";
              scroll.focus();
              scroll.scrollTo(9, 7);
              scroll.querySelector("table").dataset.old = "";
            }}""")
            page.evaluate(NOW)
            page.until("!document.querySelector('[data-old]')")
            assert focused(page, scroll)
            assert page.evaluate("[document.activeElement.scrollLeft, document.activeElement.scrollTop]") == [9, 7]


def test_an_overtaken_refresh_shows_no_error(browser, url):
    with browser.page() as page:
        visit(page, f"{url}/status")
        before = page.evaluate(STATES)
        page.evaluate(f"{{ {HOLD} }}")
        page.evaluate(NOW)
        page.until(f"held >= {len(before) + 2}")
        page.evaluate(f"{NOW}, new Promise((done) => setTimeout(done, 0))")
        assert page.evaluate(STATES) == before
        assert page.evaluate("document.querySelector('#firing').dataset.state") == "firing"
        assert page.evaluate("document.querySelector('#problem').textContent") == ""


def test_the_page_is_usable_by_keyboard(browser, url):
    with browser.page() as page:
        visit(page, f"{url}/status")
        page.press(*TAB)
        assert focused(page, "a.skip")
        page.press(*ENTER)
        page.until("document.activeElement.id === 'main'")
        for _ in range(60):
            page.press(*TAB)
            if focused(page, ".plot"):
                break
        assert focused(page, ".plot")
        page.press(*LEFT)
        moved = page.evaluate("document.activeElement.parentElement.querySelector('.spoken').textContent")
        assert ":" in moved
        page.press(*TAB)
        pressed = "document.activeElement.getAttribute('aria-pressed')"
        assert page.evaluate(pressed) == "true"
        page.press(*ENTER)
        assert page.evaluate(pressed) == "false"


def test_the_page_follows_the_dark_colour_scheme(browser, url):
    with browser.page(scheme="dark") as page:
        visit(page, f"{url}/status")
        assert faults(page) == []
        assert max(page.evaluate(SHADE)) < 64
    with browser.page() as page:
        visit(page, f"{url}/status")
        assert min(page.evaluate(SHADE)) > 191


def test_every_rule_has_historical_data():
    """The day has a time of each kind: the past may begin anywhere in a block."""
    for now in range(0, BLOCK_S, 30):
        assert BLOCK_S - beginning(now) % BLOCK_S > SLOWEST_S


@pytest.mark.parametrize("start", [Past, Chromium, lambda: Status("http://127.0.0.1:9")])
def test_a_failed_start_leaves_no_process(monkeypatch, start):
    begun = []

    def fail(server, *_):
        begun.append(server)
        raise KeyboardInterrupt

    monkeypatch.setattr(Past, "_blocks", lambda *_: None)
    monkeypatch.setattr(Server, "_ready", fail)
    monkeypatch.setattr(Chromium, "_address", fail)
    with pytest.raises(KeyboardInterrupt):
        start()
    [server] = begun
    assert server.process.poll() is not None
    assert not server.folder.exists()
