"""Where this host gets its packages from, as files that a build sees as secrets: they are in no layer."""

import configparser
import io
import os
from pathlib import Path

from tools.images.base import host_sources
from tools.package_index import pip_options

CERTIFICATES = "/run/build/ca.crt"
"""Where a build sees the host's certificate authorities."""

_KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "no-index")


def secrets(folder: Path) -> dict[str, Path]:
    """Writes `apt`, `pip` and, if the host has any, `ca` into a folder; returns them by the secret's id."""
    files = {"apt": folder / "debian.sources", "pip": folder / "pip.conf"}
    files["apt"].write_text(host_sources())
    options = pip_options()
    if certificates := _certificates(options):
        files["ca"] = certificates
    files["pip"].touch(mode=0o600)
    files["pip"].write_text(pip_conf(options, certificates=certificates is not None))
    return files


def pip_conf(options: dict[str, str], *, certificates: bool) -> str:
    """A pip.conf with the index, and the certificates where the build has them. Folders of the host stay out."""
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
