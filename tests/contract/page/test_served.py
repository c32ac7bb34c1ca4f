"""The gateway serves the page: its document and its files, with the headers that each needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from serving.api.response_headers import ALWAYS
from serving.page.assets import Asset, PageName, assets, entries
from tests.contract.page.test_accessibility import texts
from tests.contract.page.world import World
from tests.contract.running import Gateway

FIRST_LOAD = 80 << 10
CONSOLE = 60 << 10
REFERENCE = 20 << 10

PAGES: dict[PageName, tuple[str, ...]] = {
    "chat": ("/", "/c/conv_1", "/s/share_1"),
    "console": ("/admin", "/admin/keys"),
    "reference": ("/docs",),
}


@pytest.fixture
def http(up: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=up.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.parametrize("page", PAGES)
def test_a_document_names_its_files_and_lets_its_script_alone_run(http: httpx.Client, page: PageName) -> None:
    answers = [http.get(path) for path in PAGES[page]]
    nonces = [re.findall(r"nonce=\"([\w-]{22})\"", answer.text) for answer in answers]
    assert len({nonce for (nonce,) in nonces}) == len(answers)
    for answer, (nonce,) in zip(answers, nonces, strict=True):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == (
            f"default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'self'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )
        others = {name.decode(): value.decode() for name, value in ALWAYS if name != b"content-security-policy"}
        assert others.items() <= dict(answer.headers).items()
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["x-dns-prefetch-control"] == "off"
        assert set(re.findall(r"/assets/([\w.-]+)", answer.text)) == {entries(page).script, entries(page).style}
    assert len({re.sub(nonce, "", answer.text) for answer, (nonce,) in zip(answers, nonces, strict=True)}) == 1


def test_only_a_browser_with_a_session_asks_for_it_early(up: Gateway, http: httpx.Client) -> None:
    early = 'rel="preload" as="fetch" crossorigin href="/auth/session"'
    cookie = {"cookie": f"{up.services.browser.session_cookie}=anything"}
    for path in ("/", "/c/conv_1", "/admin"):
        assert http.get(path, headers=cookie).text.count(early) == 1
        assert "preload" not in http.get(path).text
    assert "preload" not in http.get("/docs", headers=cookie).text


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("br;q=0", None)])
def test_files_are_kept_forever_in_the_form_that_a_browser_takes(
    http: httpx.Client, accepted: str, encoding: str | None
) -> None:
    for name, asset in assets().items():
        with http.stream("GET", f"/assets/{name}", headers={"accept-encoding": accepted}) as answer:
            raw = b"".join(answer.iter_raw())
        assert answer.headers.get("content-encoding") == encoding
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["vary"] == "accept-encoding"
        assert answer.headers["content-type"].partition(";")[0] in ("text/javascript", "text/css")
        assert raw == asset.body(accepted)[1]
        if encoding == "gzip":
            assert len(raw) < len(asset.bodies["identity"])


@pytest.mark.parametrize(("page", "most"), [("chat", FIRST_LOAD), ("console", CONSOLE), ("reference", REFERENCE)])
def test_the_first_load_is_small(page: PageName, most: int) -> None:
    first = [assets()[name] for name in (entries(page).script, entries(page).style)]
    assert sum(len(asset.bodies["gzip"]) for asset in first) <= most


def test_the_first_load_in_arabic_is_small(world: World) -> None:
    with world.page(language="ar") as shown:
        shown.there(".chooser option", "docs")
        shown.page.settle()
        names = [url.rpartition("/")[2] for url in shown.page.requests if "/assets/" in url]
        assert {entries("chat").script, entries("chat").style} < set(names)
        assert shown.text("html[lang=ar] h2") == texts("ar")["greeting"]
        assert sum(len(assets()[name].bodies["gzip"]) for name in names) <= FIRST_LOAD


def test_the_chat_loads_nothing_of_the_console() -> None:
    chat, console = entries("chat"), entries("console")
    script = assets()[chat.script].bodies["identity"].decode()
    assert console.script not in script
    assert "/v1/admin/users" not in script
    assert "/v1/admin/users" in assets()[console.script].bodies["identity"].decode()


def test_the_smallest_form_is_chosen() -> None:
    asset = Asset("text/css", {"br": b"b", "gzip": b"gz", "identity": b"plain"})
    chosen = {"": "identity", "*": "identity", "GZIP": "gzip", "br;q=0.0, gzip": "gzip", "gzip;q=0.5,br;q=0.1": "br"}
    assert {accepted: asset.body(accepted)[0] for accepted in chosen} == chosen


@pytest.mark.parametrize(
    "path",
    [
        "/assets/entries.json",
        "/assets/..%2Fshell.py",
        "/assets/none.js",
        "/c/",
        "/c/a/b",
        "/s/",
        "/s/a/b",
        "/admin/",
        "/admin/a/b",
    ],
)
def test_other_paths_are_not_served(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_the_page_is_no_part_of_the_api(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert paths
    assert not [path for path in paths if path == "/" or path.startswith(("/c/", "/s/", "/admin", "/docs", "/assets/"))]
    assert http.post("/").status_code == 405
