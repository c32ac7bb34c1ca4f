"""Where this host gets Python packages from: what pip is told, and the same for uv, which does not read pip's files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_OWN = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")
"""Variables that tell uv itself where packages are."""
_TRUE = ("1", "true", "yes", "on")


def pip_options() -> dict[str, str]:
    """What pip is told, by option: by the environment, else by its configuration files."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    return parse(said.stdout)


def parse(listing: str) -> dict[str, str]:
    """Reads `pip config list`."""
    options: dict[str, str] = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if option not in options or section == ":env:":
            options[option] = value.strip("'\"")
    return options


def uv_environment() -> dict[str, str]:
    """The environment that uv needs on this host: where uv is not told where packages are, pip's word holds."""
    return {**os.environ, **uv_settings(pip_options(), os.environ, configured=_configured(os.environ))}


def uv_settings(options: Mapping[str, str], environ: Mapping[str, str], *, configured: bool) -> dict[str, str]:
    """uv's variables for pip's options, without those that `environ` has. `configured`: uv has a file of its own."""
    found = {
        "UV_HTTP_TIMEOUT": options.get("timeout") or options.get("default-timeout", ""),
        "UV_INSECURE_HOST": _words(options.get("trusted-host", "")),
        "SSL_CERT_FILE": options.get("cert", ""),
        "SSL_CLIENT_CERT": options.get("client-cert", ""),
        "ALL_PROXY": options.get("proxy", ""),
    }
    if not configured and not any(name in environ for name in _OWN):
        found["UV_INDEX"] = _words(options.get("extra-index-url", ""))
        if options.get("no-index", "").lower() in _TRUE:
            found["UV_OFFLINE"] = "1"  # uv has no variable for `--no-index`, and looks into folders offline too
        else:
            found["UV_DEFAULT_INDEX"] = options.get("index-url", "")
        found["UV_FIND_LINKS"] = ",".join(filter(_there, options.get("find-links", "").replace("\\n", " ").split()))
        # As in pip, every index may have every version: what is installed is held by its hash.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match" if found["UV_INDEX"] else ""
    return {name: value for name, value in found.items() if value and name not in environ}


def _configured(environ: Mapping[str, str]) -> bool:
    home = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    system = [Path(each) for each in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)]
    return any((folder / "uv/uv.toml").is_file() for folder in (home, *system, Path("/etc")))


def _words(values: str) -> str:
    return " ".join(values.replace("\\n", " ").split())


def _there(place: str) -> bool:
    return "://" in place or Path(place).is_dir()  # pip passes over a folder that is not there, uv does not
