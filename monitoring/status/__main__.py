"""`python -m monitoring.status --prometheus URL`: serves the page `/status` on loopback."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence

import httpx
import uvicorn

from monitoring.status.app import HOSTS, application
from monitoring.status.prometheus import Prometheus

PORT = 9091


def prometheus_url(text: str) -> str:
    """Returns an HTTP URL without a password, which the page may therefore show."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"{text!r} is not an HTTP URL, such as http://127.0.0.1:9090")
    if url.userinfo or url.query or url.fragment:
        raise argparse.ArgumentTypeError("the URL must not have a user, password, query or fragment: it is displayed")
    return text


def loopback(text: str) -> str:
    """Returns a loopback address, the only kind allowed, since the page has no authentication."""
    try:
        inside = text == "localhost" or ipaddress.ip_address(text).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise argparse.ArgumentTypeError(f"{text!r} is not a loopback address, such as 127.0.0.1")
    return text


def port(text: str) -> int:
    """Returns a TCP port; 0 stands for a free one."""
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; choose one from 1024 to 65535")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM. Returns the exit status: 1 when it cannot listen."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.status", description=__doc__)
    parser.add_argument("--prometheus", type=prometheus_url, required=True, metavar="URL", help="the URL of Prometheus")
    parser.add_argument("--host", type=loopback, default="127.0.0.1", help="the loopback address to listen on")
    parser.add_argument("--port", type=port, default=PORT, help=f"the port to listen on, by default {PORT}")
    options = parser.parse_args(arguments)
    try:
        app = application(Prometheus(options.prometheus), [*HOSTS, options.host])
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listening = socket.create_server((options.host, options.port), family=family)
    except FileNotFoundError as error:
        print(f"status: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        print(f"status: cannot listen on {options.host} port {options.port}: {why}", file=sys.stderr)
        return 1
    with listening:
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"status: http://{host}:{listening.getsockname()[1]}/status", file=sys.stderr, flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
