"""A part of Ray whose metrics other hosts cannot read.

Ray serves the metrics of its dashboard, its autoscaler and its agents on all addresses, unless its node is `127.0.0.1`,
which Ray does not keep as a node's address; no setting changes that (Ray 2.60). This program is one of these parts with
a server of metrics that listens on loopback.

    python serving/loopback_metrics.py ray/dashboard/agent.py --node-ip-address=127.0.0.2 ...
"""

from __future__ import annotations

import functools
import importlib
import runpy
import sys
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"


def listen_on_loopback() -> None:
    """Changes where both kinds of servers of metrics listen that Ray starts without an address."""
    client: Any = importlib.import_module("prometheus_client")
    exporter: Any = importlib.import_module("ray._private.prometheus_exporter")
    client.start_http_server = functools.partial(client.start_http_server, addr=HOST)
    make_server = exporter.make_server
    exporter.make_server = lambda address, *given: make_server(address or HOST, *given)


def main() -> None:
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)  # as if it had been started itself
    listen_on_loopback()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
