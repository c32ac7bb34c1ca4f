"""The host's package sources, passed to builds as secrets, so that no layer contains them."""

import configparser
import io
import os
from pathlib import Path

from tools.images.base import host_sources
from tools.package_index import pip_options
from tools.weights import REPOSITORY

CERTIFICATES = "/run/build/ca.crt"
"""Path of the host's certificate authorities in a build."""

_KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "no-index")


def secrets(folder: Path) -> dict[str, Path]:
    """Writes `apt`, `pip` and, if the host has them, `maven` and `ca` into a folder; returns the files by secret id."""
    files = {"apt": folder / "debian.sources", "pip": folder / "pip.conf"}
    files["apt"].write_text(host_sources())
    if repository := os.environ.get(REPOSITORY):
        files["maven"] = folder / "maven"
        files["maven"].write_text(repository)
    options = pip_options()
    if certificates := _certificates(options):
        files["ca"] = certificates
    files["pip"].touch(mode=0o600)
    files["pip"].write_text(pip_conf(options, certificates=certificates is not None))
    return files


def pip_conf(options: dict[str, str], *, certificates: bool) -> str:
    """Returns a pip.conf with the host's index and the build's certificates, but without folders of the host."""
    config = configparser.RawConfigParser()
    config["global"] = {name: options[name] for name in _KEPT if name in options}
    if certificates:
        config["global"]["cert"] = CERTIFICATES
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _certificates(options: dict[str, str]) -> Path | None:
    named = (options.get("cert"), os.environ.get("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt")
    return next((Path(name) for name in named if name and Path(name).is_file()), None)
