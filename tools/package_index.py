"""This host's Python package index: pip's configuration, and the same for uv, which does not read pip's files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")
"""Variables with which a user configures uv's package indexes."""
_TRUE = ("1", "true", "yes", "on")


def pip_options() -> dict[str, str]:
    """Returns pip's options by name, from the environment, else from its configuration files."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    return parse(done.stdout)


def parse(listing: str) -> dict[str, str]:
    """Parses the output of `pip config list`."""
    options: dict[str, str] = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if option not in options or section == ":env:":
            options[option] = value.strip("'\"")
    return options


def uv_environment() -> dict[str, str]:
    """Returns this process's environment with pip's package index for uv, unless uv has an index of its own."""
    return {**os.environ, **uv_settings(pip_options(), os.environ, configured=_has_uv_file(os.environ))}


def uv_settings(options: Mapping[str, str], environ: Mapping[str, str], *, configured: bool) -> dict[str, str]:
    """Returns uv's variables for pip's options, except those set in `environ`. `configured`: uv has its own file."""
    found = {
        "UV_HTTP_TIMEOUT": options.get("timeout") or options.get("default-timeout", ""),
        "UV_INSECURE_HOST": _words(options.get("trusted-host", "")),
        "SSL_CERT_FILE": options.get("cert", ""),
        "SSL_CLIENT_CERT": options.get("client-cert", ""),
        "ALL_PROXY": options.get("proxy", ""),
    }
    if not configured and not any(name in environ for name in _UV_INDEXES):
        found["UV_INDEX"] = _words(options.get("extra-index-url", ""))
        if options.get("no-index", "").lower() in _TRUE:
            found["UV_OFFLINE"] = "1"  # uv has no variable for `--no-index`, and looks into folders offline too
        else:
            found["UV_DEFAULT_INDEX"] = options.get("index-url", "")
        found["UV_FIND_LINKS"] = ",".join(filter(_exists, options.get("find-links", "").replace("\\n", " ").split()))
        # As in pip, any index may provide any version: hashes pin what is installed.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match" if found["UV_INDEX"] else ""
    return {name: value for name, value in found.items() if value and name not in environ}


def _has_uv_file(environ: Mapping[str, str]) -> bool:
    home = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    system = [Path(each) for each in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)]
    return any((folder / "uv/uv.toml").is_file() for folder in (home, *system, Path("/etc")))


def _words(values: str) -> str:
    return " ".join(values.replace("\\n", " ").split())


def _exists(location: str) -> bool:
    return "://" in location or Path(location).is_dir()  # pip ignores a missing folder, uv does not
