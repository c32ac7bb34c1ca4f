"""URLs and prefixes of them: one spelling, and no way around."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.core.url import BadUrl, parse

API = "https://api.example.com/v1/public"


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("HTTPS://example.com:443/a", "https://example.com/a"),
        ("http://example.com:8080/a?b=c#d", "http://example.com:8080/a?b=c"),
        ("https://example.com./a", "https://example.com/a"),
        ("https://example.com/%7euser/%c3%a9", "https://example.com/~user/%C3%A9"),
        ("https://example.com/é?q=é", "https://example.com/%C3%A9?q=%C3%A9"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://ＥＸＡＭＰＬＥ.com/", "https://example.com/"),
        ("https://127.0.0.1/", "https://127.0.0.1/"),
        ("https://[::FFFF:7F00:1]:8443/a", "https://[::ffff:127.0.0.1]:8443/a"),
        ("https://example.com/a?u=https://b.c/../d", "https://example.com/a?u=https://b.c/../d"),
        ("https://example.com/a?", "https://example.com/a?"),
    ],
)
def test_a_url_has_one_spelling(text, spelled):
    assert str(parse(text)).replace("[::ffff:7f00:1]", "[::ffff:127.0.0.1]") == spelled
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https:///a",
        "https:/example.com/",
        "https://user@example.com/",
        "https://api.example.com:pw@evil.example/",
        "https://api.example.com%40evil.example/",
        "https://api.example.com\\@evil.example/",
        "https://evil.example\\.api.example.com/",
        "https://example.com\t.evil.example/",
        "https://example.com\n/",
        " https://example.com/",
        "https://example.com /",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:/",
        "https://example.com:8o/",
        "https://example.com:80:80/",
        "https://[::1/",
        "https://[1.2.3.4]/",
        "https://::1/",
        "https://[fe80::1%25eth0]/",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.1.0x1/",
        "https://256.1.1.1/",
        "https://ex..ample.com/",
        "https://-example.com/",
        "https://example.com-/",
        "https://" + "a" * 64 + ".com/",
        "https://" + "a." * 127 + "com/",
        "https://example.com/../a",
        "https://example.com/a/..",
        "https://example.com/a/./b",
        "https://example.com/%2e%2e/a",
        "https://example.com/.%2E/a",
        "https://example.com/%252e%252e/a",
        "https://example.com/%25252e%25252e/a",
        "https://example.com/..;x/a",
        "https://example.com/%2e%2e%3bx/a",
        "https://example.com/%c0%ae%c0%ae/a",
        "https://example.com/%ff",
        "https://example.com/\uff0e\uff0e/a",
        "https://example.com/%ef%bc%8e%ef%bc%8e/a",
        "https://example.com/\uff052e\uff052e/a",
        "https://example.com/%ef%bc%852e%ef%bc%852e/a",
        "https://example.com/%25ef%25bc%25852e./a",
        "https://example.com/\uff05ef\uff05bc\uff058e./a",
        "https://example.com/a\uff052fb",
        "https://example.com/a\uff0fb",
        "https://example.com/a%2fb",
        "https://example.com/a%252fb",
        "https://example.com/a%5cb",
        "https://example.com/a\\b",
        "https://example.com//a",
        "https://example.com/a%00",
        "https://example.com/a%0d%0aHost:x",
        "https://example.com/%",
        "https://example.com/%g1",
        "https://example.com/?%2",
        "https://example.com/\ud800",
        "https://exa\u2028mple.com/",
        "https://example\u2024com/..\u2024/",
        "https://xn--\u00fc.example/",
        "https://" + "x" * 5000,
    ],
    ids=ascii,
)
def test_ambiguous_urls_are_rejected(text):
    with pytest.raises(BadUrl):
        parse(text)


@pytest.mark.parametrize(
    "text", [API, f"{API}/", f"{API}/a/b?c", f"{API}?x=/../..", "HTTPS://API.example.com:443/v1/public/x"]
)
def test_addresses_below_a_url_are_recognised(text):
    assert parse(text).below(parse(API))
    assert parse(text).below(parse("https://api.example.com"))


@pytest.mark.parametrize(
    "text",
    [
        "http://api.example.com/v1/public",
        "https://api.example.com:444/v1/public",
        "https://api.example.com.evil.example/v1/public",
        "https://evilapi.example.com/v1/public",
        "https://api.example.com/v1/publicity",
        "https://api.example.com/v1/public%2Dx",
        "https://api.example.com/v1",
        "https://api.example.com/",
        "https://api.example.com/V1/public",
        "https://evil.example/?https://api.example.com/v1/public",
        "https://evil.example/#https://api.example.com/v1/public",
    ],
)
def test_addresses_outside_of_a_url_are_recognised(text):
    assert not parse(text).below(parse(API))


def test_a_prefix_with_a_slash_at_its_end_is_a_folder():
    assert parse("https://a.b/c/d").below(parse("https://a.b/c/"))
    assert not parse("https://a.b/c").below(parse("https://a.b/c/"))


@given(st.text(max_size=30), st.text(max_size=30))
def test_normalised_urls_are_stable(host, path):
    for text in (f"https://{host}/{path}", f"https://a.example/b/{path}", f"https://a.example/b{path}"):
        try:
            url = parse(text)
        except BadUrl:
            continue
        assert parse(str(url)) == url
        assert str(url).isascii()
        assert "/../" not in f"{url.path}/"
        assert url.below(url)
        if url.below(parse("https://a.example/b")):
            assert url.host == "a.example"
            assert url.path == "/b" or url.path.startswith("/b/")
