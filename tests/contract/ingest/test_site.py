"""Web sites as sources of collections: a real server that changes, fails and misbehaves."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from serving.ingest import web_client
from serving.ingest.__main__ import ingest, main
from serving.ingest.api import IngestError
from serving.ingest.site import SiteOptions, SiteSource
from serving.ingest.source import Inventory
from tests.contract.ingest.stack import Stack, found
from tests.contract.ingest.web_site import WebSite, send, status, web_site

OPTIONS = SiteOptions(delay_s=0, private=True)


@pytest.fixture
def site() -> Iterator[WebSite]:
    with web_site() as made:
        yield made


def page(topic: str, *links: str) -> str:
    hrefs = "".join(f'<a href="{link}">x</a>' for link in links)
    return f"<!doctype html><html><title>{topic}</title><body><p>The {topic} of note.</p>{hrefs}</body></html>"


def source(site: WebSite, path: str = "/docs/", **options: Any) -> SiteSource:
    return SiteSource(f"{site.url}{path}", replace(OPTIONS, **options), say=print)


def look(site: WebSite, known: Mapping[str, str] | None = None, path: str = "/docs/", **options: Any) -> Inventory:
    return source(site, path, **options).listing(known or {})


def sync(stack: Stack, given: SiteSource) -> None:
    ingest(stack.url, stack.key, "birds", given, wait_s=60)


def filled(site: WebSite) -> None:
    site.pages |= {"/docs/": page("heron"), "/docs/mill": page("mill"), "/docs/otter/": page("otter")}
    site.pages["/blog/"] = page("blog")
    site.sitemap("/docs/", "/docs/mill", "/docs/otter/", "/blog/")


def test_a_collection_follows_its_site(small: Stack, site: WebSite) -> None:
    filled(site)
    sync(small, source(site))
    assert site.fetched() == ["/docs/", "/docs/mill", "/docs/otter/"]
    found(small, {"index.html", "mill.html", "otter.html"})
    # Nothing changed: the site answers 304, and nothing is written but that it was checked.
    small.calls.clear()
    sync(small, source(site))
    assert site.fetched() == []
    assert len([call for call in small.calls if not call.startswith("GET ")]) == 1
    # One changed, one gone although the sitemap still lists it, one failing, which stays.
    site.pages["/docs/"] = page("grey heron with water")
    del site.pages["/docs/mill"]
    site.pages["/docs/otter/"] = status(500)
    with pytest.raises(IngestError, match=r"(?s)1 of 2 documents .*otter\.html: the site answered 500"):
        sync(small, source(site))
    assert site.fetched() == ["/docs/"]
    found(small, {"index.html", "otter.html"})
    # No longer in the sitemap.
    site.sitemap("/docs/")
    sync(small, source(site))
    found(small, {"index.html"})


@pytest.mark.parametrize(
    "broken",
    [
        {"/sitemap.xml": status(503)},
        {"/sitemap.xml": b"<urlset><url><loc>http://127.0.0.1/docs/</loc></url><url><loc"},
        {"/sitemap.xml": b"<html></html>"},
        {"/sitemap.xml": b"<urlset></urlset>"},
        {"/robots.txt": status(500)},
        {"/robots.txt": "User-agent: *\nDisallow: /"},
        {"/docs/": status(500), "/docs/mill": status(302, location="/login"), "/docs/otter/": status(401)},
    ],
    ids=["failed", "cut", "a page", "empty", "no rules", "forbidden", "all pages fail"],
)
def test_a_failed_listing_removes_nothing(small: Stack, site: WebSite, broken: dict[str, Any]) -> None:
    filled(site)
    sync(small, source(site))
    site.pages |= broken
    with pytest.raises(IngestError):
        sync(small, source(site))
    found(small, {"index.html", "mill.html", "otter.html"})


def test_a_cut_listing_adds_but_removes_nothing(small: Stack, site: WebSite) -> None:
    filled(site)
    sync(small, source(site))
    site.pages["/docs/new"] = page("newt")
    site.sitemap("/docs/new", "/docs/", "/docs/mill")
    with pytest.raises(IngestError, match=r"(?s)more than 2 pages \(--max-pages\).*nothing was removed"):
        sync(small, source(site, max_pages=2))
    found(small, {"index.html", "mill.html", "otter.html", "new.html"})
    most = len(site.pages["/sitemap.xml"]) + 10
    assert look(site, max_bytes=most).cut == f"the site has more than {most} bytes (--max-bytes)"
    with pytest.raises(IngestError, match="contains no documents; the site has more than 10 bytes"):
        look(site, max_bytes=10)


def test_one_percent_of_changes_costs_a_few_requests(site: WebSite) -> None:
    """With a sitemap that tells when pages changed; without it each page is asked for, but not sent."""
    paths = [f"/docs/{n}" for n in range(300)]
    site.pages |= {path: page(f"heron {path}") for path in paths}
    site.sitemap(*paths, changed="2026-01-01")
    first = look(site)
    assert len(site.fetched()) == 300
    site.pages |= {path: page(f"otter {path}") for path in paths[:3]}
    site.sitemap(*paths, changed="2026-01-01")
    site.pages["/sitemap.xml"] = str(site.pages["/sitemap.xml"]).replace("2026-01-01", "2026-01-02", 3)
    second = look(site, first.versions)
    assert len(site.asked) == 5  # robots.txt, the sitemap, and three pages
    assert {path for path, version in second.versions.items() if version != first.versions[path]} == {
        "0.html",
        "1.html",
        "2.html",
    }
    site.fetched()
    assert look(site, second.versions, trust_lastmod=False).versions == second.versions
    assert len(site.asked) == 302
    assert site.fetched() == []


def test_pages_without_validators_are_compared_by_content(site: WebSite) -> None:
    site.validators = False
    filled(site)
    first = look(site)
    assert look(site, first.versions).versions == first.versions
    site.pages["/docs/"] = page("swan")
    later = look(site, first.versions).versions
    assert [path for path in later if later[path] != first.versions[path]] == ["index.html"]


def test_links_are_followed_to_a_depth_and_below_the_path_alone(site: WebSite) -> None:
    elsewhere = ("/blog/", "https://example.com/docs/x", "mailto:a@b", "javascript:void(0)", "/docs/../blog/", "#top")
    site.pages |= {
        "/docs/": page("heron", "a", "a#part", "/docs/logo.png", *elsewhere),
        "/docs/a": page("a", "/docs/", "b?page=2"),
        "/docs/b?page=2": page("b", "c"),
        "/docs/c": page("c"),
        "/blog/": page("blog"),
    }
    assert sorted(look(site, depth=2).versions) == ["a.html", "b?page=2.html", "index.html"]
    assert sorted(look(site, depth=0).versions) == ["index.html"]
    assert site.asked.count(("/blog/", 200)) == 0
    site.fetched()
    # The last pages are asked for conditionally; others have links that must be seen.
    known = look(site, depth=2).versions
    site.fetched()
    assert look(site, known, depth=2).versions == known
    assert site.fetched() == ["/docs/", "/docs/a"]
    # A page that fails hides what it links to, so the listing is not complete.
    site.pages["/docs/a"] = status(500)
    cut = look(site, known, depth=2)
    assert (sorted(cut.versions), cut.cut) == (["index.html"], "1 pages could not be read, whose links are unknown")
    site.pages["/docs/"] = status(500)
    with pytest.raises(IngestError, match=r"/docs/ cannot be read: the site answered 500"):
        look(site, known, depth=2)


def test_robots_and_its_sitemaps_are_honoured(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(site)
    packed = gzip.compress(str(site.pages.pop("/sitemap.xml")).encode())
    site.pages["/maps/1.xml.gz"] = packed
    site.pages["/maps/all.xml"] = f"<sitemapindex><sitemap><loc>{site.url}/maps/1.xml.gz</loc></sitemap></sitemapindex>"
    site.pages["/robots.txt"] = (
        f"Sitemap: {site.url}/maps/all.xml\nSitemap: http://127.0.0.1:1/x.xml\n"
        "User-agent: *\nDisallow: /\n\nUser-agent: headrace-ingest\nDisallow: /docs/mill\n"
    )
    assert sorted(look(site).versions) == ["index.html", "otter.html"]
    site.pages["/maps/1.xml.gz"] = packed[:-9]
    with pytest.raises(IngestError, match=r"1\.xml\.gz cannot be read: it is cut"):
        look(site)


def test_a_page_that_misbehaves_is_named_and_others_are_read(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_client, "ANSWER_BYTES", 100_000)
    monkeypatch.setattr(web_client, "REQUEST_S", 0.5)
    ended = threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", "5")
        request.end_headers()
        ended.wait(30)

    def broken_off(request: BaseHTTPRequestHandler) -> None:
        send(request, 200, {"content-type": "text/html"}, b"")
        request.close_connection = True

    def short(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", "5000")
        request.end_headers()
        request.wfile.write(b"<html>")
        request.close_connection = True

    site.pages |= {
        "/docs/": page("heron"),
        "/docs/loop": status(302, location="/docs/loop2"),
        "/docs/loop2": status(302, location="/docs/loop"),
        "/docs/away": status(302, location="http://127.0.0.1:1/docs/"),
        "/docs/up": status(301, location="/login"),
        "/docs/huge": b"x" * 200_000,
        "/docs/bomb": lambda request: send(request, 200, {"content-encoding": "gzip"}, gzip.compress(bytes(200_000))),
        "/docs/slow": slow,
        "/docs/short": short,
        "/docs/empty": broken_off,
        "/docs/odd": lambda request: send(request, 200, {"content-encoding": "br"}, b"x"),
        "/docs/moved": status(301, location="/docs/new"),
        "/docs/new": page("newt"),
        "/docs/picture": b"\x89PNG",
    }
    site.kinds["/docs/picture"] = "image/png"
    site.sitemap(*(path for path in site.pages if path.startswith("/docs/") and path != "/docs/new"))
    try:
        seen = look(site)
    finally:
        ended.set()
    assert sorted(seen.versions) == ["index.html", "new.html"]
    assert seen.cut == ""
    assert {path.removesuffix(".html"): reason for path, reason in seen.failed.items()} == {
        "loop": "it redirects more than 5 times",
        "loop2": "it redirects more than 5 times",
        "away": "it redirects to http://127.0.0.1:1/docs/, which is not to be read",
        "up": f"it redirects to {site.url}/login, which is not to be read",
        "huge": "it has more than 100000 bytes",
        "bomb": "it is cut, or has more than 100000 bytes when unpacked",
        "slow": "it took longer than 0.5 s",
        "short": "the answer cannot be read: ClientPayloadError",
        "odd": "it has the encoding br, which was not asked for",
    }


def test_a_site_that_goes_down_ends_the_run(site: WebSite) -> None:
    def dead(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True

    paths = [f"/docs/{n}" for n in range(20)]
    site.pages |= dict.fromkeys(paths[1:], dead) | {paths[0]: page("heron")}
    site.sitemap(*paths)
    with pytest.raises(IngestError, match=r"/docs/ does not answer: the answer cannot be read"):
        look(site)


@pytest.mark.parametrize(
    ("kind", "charset"),
    [
        ("text/html; charset=iso-8859-1", "iso-8859-1"),
        ("text/html; charset=utf-8", "cp1252"),
        ("text/html; charset=no-such-charset", "utf-8"),
        ("text/html; charset=punycode", "utf-8"),
        ("text/html", "cp1252"),
    ],
)
def test_texts_become_utf8(site: WebSite, kind: str, charset: str) -> None:
    site.pages["/docs/"] = page("Mühle").encode(charset)
    site.kinds["/docs/"] = kind
    site.sitemap("/docs/")
    given = source(site)
    ((path, version),) = given.listing({}).versions.items()
    assert given.read(path, version).decode() == page("Mühle")


def test_private_addresses_need_consent(site: WebSite, small: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    filled(site)
    given = [f"--url={small.url}", "--collection=birds", f"--key={small.key}", "--wait=0", "--delay=0"]
    assert main([*given, f"--documents={site.url}/docs/"]) == 1
    assert "private or reserved; --allow-private allows private ones" in capsys.readouterr().err
    assert site.asked == []
    assert main([*given, f"--documents={site.url}/docs/", "--allow-private"]) == 0
    found(small, {"index.html", "mill.html", "otter.html"})
    for wrong, reason in (("http://u:p@host/", "must not contain a user"), ("ftp://host/", "is neither a folder nor")):
        assert main([*given, f"--documents={wrong}"]) == 1
        assert reason in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*given, f"--documents={site.url}", "--depth=-1"])
    assert "argument --depth: '-1' is not a whole number" in capsys.readouterr().err
