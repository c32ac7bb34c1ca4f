"""Where uv is sent, by what pip is told."""

from __future__ import annotations

from pathlib import Path

from tools.package_index import parse, uv_settings

LISTING = """\
:env:.timeout='60'
global.index-url='https://me:token@index.example/simple'
global.extra-index-url='https://one.example/simple\\nhttps://two.example/simple'
global.timeout='20'
global.trusted-host='index.example'
"""


def test_the_environment_comes_before_the_files() -> None:
    assert parse(LISTING)["timeout"] == "60"
    assert parse("") == {}


def test_uv_gets_the_index_of_pip() -> None:
    assert uv_settings(parse(LISTING), {}, configured=False) == {
        "UV_DEFAULT_INDEX": "https://me:token@index.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_HTTP_TIMEOUT": "60",
        "UV_INSECURE_HOST": "index.example",
    }
    assert uv_settings({}, {}, configured=False) == {}


def test_an_index_of_uvs_own_holds() -> None:
    options = {"index-url": "https://pip.example/simple", "find-links": "https://pip.example/files", "cert": "/ca.crt"}
    for environ, configured in (({"UV_INDEX_URL": "https://uv.example/simple"}, False), ({}, True)):
        assert uv_settings(options, environ, configured=configured) == {"SSL_CERT_FILE": "/ca.crt"}
    assert "SSL_CERT_FILE" not in uv_settings(options, {"SSL_CERT_FILE": "/other.crt"}, configured=False)


def test_folders_of_packages_are_looked_into_where_they_are(tmp_path: Path) -> None:
    options = {"no-index": "1", "find-links": f"{tmp_path} /no/such/folder", "index-url": "https://pip.example/simple"}
    assert uv_settings(options, {}, configured=False) == {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(tmp_path)}
