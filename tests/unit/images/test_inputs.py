"""What goes into an image from this host, and what does not."""

from pathlib import Path

from tools.images.base import slim_root, sources
from tools.images.build import digest
from tools.images.package_index import pip_conf
from tools.package_index import parse

LISTING = """\
:env:.cert='/host/ca.crt'
:env:.find-links='/host/wheels'
global.index-url='https://me:token@index.example/simple'
global.timeout='20'
:env:.timeout='60'
"""


def test_pip_gets_the_index_and_nothing_of_the_hosts_folders() -> None:
    text = pip_conf(parse(LISTING), certificates=True)
    assert "index-url = https://me:token@index.example/simple" in text
    assert "timeout = 60" in text
    assert "cert = /run/build/ca.crt" in text
    assert "/host" not in text
    assert "cert" not in pip_conf(parse(LISTING), certificates=False)


def test_apts_sources_name_the_mirror() -> None:
    text = sources("http://mirror.example/debian/")
    assert "URIs: http://mirror.example/debian/" in text
    assert "URIs: http://mirror.example/debian-security" in text


def test_base_has_nothing_of_the_host_or_the_day(tmp_path: Path) -> None:
    kept = {"etc/hosts": "", "usr/share/doc/a/copyright": "c", "var/lib/dpkg/status": "s", "etc/passwd": "root"}
    gone = (
        "etc/hostname",
        "etc/resolv.conf",
        "etc/machine-id",
        "etc/passwd-",
        "var/log/dpkg.log",
        "var/lib/dpkg/status-old",
    )
    gone += (
        "var/cache/apt/pkgcache.bin",
        "usr/share/doc/a/changelog.gz",
        "usr/share/man/man1/a.1.gz",
        "etc/apt/sources.list",
    )
    for name, content in {**kept, **dict.fromkeys(gone, "x")}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "etc/apt/sources.list.d").mkdir()
    (tmp_path / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
    (tmp_path / "etc/shadow").write_text("root:*:20782:0:99999:7:::\ndaemon:*:20783:0:99999:7:::\n")
    slim_root(tmp_path)
    assert not [name for name in gone if (tmp_path / name).exists()]
    assert not [name for name in kept if not (tmp_path / name).exists()]
    assert (tmp_path / "etc/shadow").read_text() == "root:*:3652:0:99999:7:::\ndaemon:*:3652:0:99999:7:::\n"
    assert "deb.debian.org" in (tmp_path / "etc/apt/sources.list.d/debian.sources").read_text()


def test_the_digest_depends_on_names_and_contents_of_sources(tmp_path: Path) -> None:
    (tmp_path / "code/__pycache__").mkdir(parents=True)
    (tmp_path / "code/a.py").write_text("a")
    first = digest(tmp_path, ["code"])
    (tmp_path / "code/__pycache__/a.pyc").write_text("x")
    assert digest(tmp_path, ["code"]) == first
    (tmp_path / "code/a.py").write_text("b")
    assert digest(tmp_path, ["code"]) != first
    (tmp_path / "code/a.py").rename(tmp_path / "code/b.py")
    assert digest(tmp_path, ["code"]) not in (first, digest(tmp_path, []))
    assert digest(tmp_path, ["code"], "seed") != digest(tmp_path, ["code"])
