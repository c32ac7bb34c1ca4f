"""The Debian base image, made from Debian packages: a substitute for `debian:bookworm-slim` without a registry."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from tools import cache
from tools.images.layer import EPOCH_S, Layer
from tools.images.oci import write_archive
from tools.machines.root import debian_root, mirror

NAME = "localhost/headrace-debian:bookworm"
PACKAGES = ("ca-certificates",)

_SOURCES = """\
Types: deb
URIs: {debian}
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: {security}
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
# As in Debian's slim images: keep licences, remove documentation and translations, and never unpack any later.
_UNPACKED = """\
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
"""
_HOSTS_OWN = ("etc/hostname", "etc/resolv.conf", "etc/machine-id")
_MADE_BY_RUNNING = (
    *("etc/*-", "etc/.pwd.lock", "var/cache/*/*", "var/lib/apt/lists/*", "var/lib/dpkg/*-old", "var/log/*"),
    *("usr/share/info/*", "usr/share/locale/*", "usr/share/man/*"),
)


def base_image() -> Path:
    """Returns the base image's OCI archive from the cache, or creates it, which takes a minute or two and needs root.

    Raises:
        ToolError: debootstrap failed.
    """
    root = debian_root(PACKAGES)
    key = hashlib.sha256(Path(__file__).read_bytes() + root.name.encode()).hexdigest()[:12]
    file = cache.root() / f"image-base-{key}.tar"
    with cache.lock("image-base"):
        if not file.exists():
            for old in file.parent.glob("image-base-*.tar"):
                old.unlink()
            with cache.scratch("image-base") as work:
                folder = work / "root"
                subprocess.run(["cp", "--archive", root, folder], check=True)
                slim_root(folder)
                write_archive(file, NAME, [Layer(folder, owner=None)])
    return file


def slim_root(folder: Path) -> None:
    """Removes from a new root what depends on the host or the date, and what no container reads."""
    for pattern in (*_HOSTS_OWN, *_MADE_BY_RUNNING):
        for file in folder.glob(pattern):
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink()
    for file in (folder / "usr/share/doc").rglob("*"):
        if file.name != "copyright" and not file.is_dir():
            file.unlink()
    shadow = folder / "etc/shadow"
    shadow.write_text(re.sub(r"^([^:]*:[^:]*:)\d+:", rf"\g<1>{EPOCH_S // 86400}:", shadow.read_text(), flags=re.M))
    (folder / "etc/apt/sources.list").unlink(missing_ok=True)
    (folder / "etc/apt/sources.list.d/debian.sources").write_text(sources())
    (folder / "etc/dpkg/dpkg.cfg.d/slim").write_text(_UNPACKED)


def sources(debian: str = "http://deb.debian.org/debian") -> str:
    """Returns Debian's sources (deb822) at a mirror that has both of its archives side by side."""
    return _SOURCES.format(debian=debian, security=f"{debian.rstrip('/').removesuffix('-security')}-security")


def host_sources() -> str:
    """Returns Debian's sources at the mirror that this host uses."""
    return sources(mirror())
